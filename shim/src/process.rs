//! The program of a container, and the shim as the first process of it: signals go on to the program, what it leaves behind is
//! reaped, and how it ends is how the container ends.

use std::ffi::OsString;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::Pid;
use signal_hook::iterator::Signals;
use zeroize::Zeroizing;

use crate::message;
use crate::place::{PlaceError, Root};
use crate::plan::{Action, Bytes, Placed, actions, missing_hosts, needs_address};
use crate::rights::{self, RightsError};
use crate::session::Task;
use crate::spec::{
    FILE, IDENTITY, LONGEST, NAME, ORDERS, PROGRAM, PROGRAMS, SHELL, Spec, SpecError,
};
use crate::users::{self, Identity, UserError};
use crate::volumes::{self, Ready, VolumeError};

mod attach;
mod child;
mod command;
mod outputs;
mod session;
mod started;
mod wait;
mod window;

pub use session::serve;
pub use started::{LEAD, lead};

use child::{attend, taken};
use started::leading;

const HOSTS: &str = "/etc/hosts";
/// Of `/etc/passwd`, `/etc/group` and `/etc/hosts`.
const LONGEST_LIST: u64 = 1024 * 1024;
/// Exit codes of a program that cannot be started, as a shell has them, and of all that comes before (a kubelet's).
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;
pub const NOT_STARTED: i32 = 128;

#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("{path}: {why}")]
    Orders {
        path: String,
        #[source]
        why: io::Error,
    },
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    User(#[from] UserError),
    #[error(transparent)]
    Rights(#[from] RightsError),
    #[error("{0}")]
    Address(String),
    /// Who can replace the shim would be root with the next session.
    #[error(
        "{0} can be written, or replaced, by others than root in this image: the shim does not run as root there; let the \
         directories above it belong to root with mode 0755"
    )]
    Open(&'static str),
    #[error("{IDENTITY} does not say whom the program runs as")]
    NoIdentity,
    #[error("there is no program to start")]
    NoProgram,
    #[error("cannot start {program:?}: {why}")]
    Start {
        program: OsString,
        #[source]
        why: io::Error,
    },
    #[error(
        "cannot start in the working directory {path}: {why}; name one that the image has, or that its user may make"
    )]
    WorkingDirectory {
        path: String,
        #[source]
        why: io::Error,
    },
    #[error("signals cannot be taken: {0}")]
    Signals(io::Error),
    #[error("a session cannot be led: {0}")]
    Lead(io::Error),
    #[error("port {port}: {why}")]
    Port {
        port: u16,
        #[source]
        why: io::Error,
    },
}

impl ShimError {
    /// How the container ends for it.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Start { why, .. } if why.kind() == io::ErrorKind::NotFound => NOT_FOUND,
            Self::Start { .. } => NOT_EXECUTABLE,
            _ => NOT_STARTED,
        }
    }
}

/// What the operator asks for, and where.
pub struct Orders {
    spec: Spec,
    /// The directory of the orders.
    beside: String,
    root: Root,
    addresses: Vec<IpAddr>,
}

impl Orders {
    /// Reads the orders in the directory `beside`, and waits for the address where they need it. Without the file nothing is
    /// asked for when `may_lack` says so.
    ///
    /// # Errors
    /// They cannot be read, or there is no address.
    pub fn read(beside: &str, root: &str, may_lack: bool) -> Result<Self, ShimError> {
        let path = format!("{beside}/{FILE}");
        let spec = match bounded(&path) {
            Err(why) if may_lack && why.kind() == io::ErrorKind::NotFound => Spec::new(),
            read => Spec::parse(&read.map_err(|why| ShimError::Orders { path, why })?)?,
        };
        Self::new(spec, beside, root)
    }

    fn new(spec: Spec, beside: &str, root: &str) -> Result<Self, ShimError> {
        let addresses = if needs_address(&spec) {
            crate::address::addresses().map_err(ShimError::Address)?
        } else {
            Vec::new()
        };
        Ok(Self {
            spec,
            beside: beside.to_owned(),
            root: Root::open(root)?,
            addresses,
        })
    }

    /// Fills volumes, and places files, hosts and the like.
    ///
    /// # Errors
    /// One could not be placed: a program that reads something else must not run.
    pub fn place(&self) -> Result<(), ShimError> {
        for action in actions(&self.spec, &self.addresses)? {
            match action {
                Action::Volume(volume, files) => {
                    let files = files.into_iter().map(|file| self.ready(file));
                    let files: Vec<_> = files.collect::<Result<_, _>>()?;
                    volumes::fill(&self.root, volume, &files)?;
                }
                Action::Write(file) => {
                    let file = self.ready(file)?;
                    self.root
                        .write(file.path, &file.bytes, file.mode, file.group)?;
                }
                Action::Hosts(hosts) => {
                    let add = |known: &str| missing_hosts(known, hosts);
                    self.root.append(HOSTS, LONGEST_LIST, add)?;
                }
                Action::Message { path, required } => {
                    let made = self.root.write(path, b"", 0o666, None);
                    if required {
                        made?;
                    }
                }
            }
        }
        if let Some(directory) = &self.spec.working_dir {
            // A runtime makes it where the image has none. Where that cannot be, the start of the program says so.
            let _ = self.root.make(directory);
        }
        Ok(())
    }

    /// The file with its bytes, wherever they are.
    fn ready<'s>(&self, file: Placed<'s, Bytes<'_>>) -> Result<Ready<'s>, ShimError> {
        let bytes = match file.bytes {
            Bytes::These(bytes) => bytes.0,
            Bytes::Beside(name) => {
                let path = format!("{}/{name}", self.beside);
                bounded(&path).map_err(|why| ShimError::Orders { path, why })?
            }
        };
        Ok(Placed {
            path: file.path,
            bytes,
            mode: file.mode,
            group: file.group,
        })
    }

    /// Becomes whom the pod names, and remembers who that is; nothing where the container is that already.
    ///
    /// # Errors
    /// There is no such user, some right could not be given up, or what later sessions begin with could be replaced.
    fn give_up_rights(&self) -> Result<Option<Identity>, ShimError> {
        let Some(user) = &self.spec.user else {
            return Ok(None);
        };
        for path in [PROGRAMS, ORDERS] {
            if !self.root.is_roots_own(path)? {
                return Err(ShimError::Open(path));
            }
        }
        let list = |path| self.root.read(path, LONGEST_LIST);
        let (passwd, group) = (list("/etc/passwd")?, list("/etc/group")?);
        let identity = users::resolve(
            user,
            passwd.as_deref().unwrap_or_default(),
            group.as_deref().unwrap_or_default(),
        )?;
        // A program may be able to write the list of users: who it is must not hang on that any more.
        let text = serde_json::to_vec(&identity).map_err(|_| ShimError::NoIdentity)?;
        self.root.write(IDENTITY, &text, 0o444, None)?;
        rights::take(user, &identity)?;
        Ok(Some(identity))
    }

    /// Becomes whom the program of the container has become.
    fn follow(&self) -> Result<Option<Identity>, ShimError> {
        let Some(user) = &self.spec.user else {
            return Ok(None);
        };
        let text = self.root.read_roots_own(IDENTITY, LONGEST_LIST)?;
        let identity: Identity =
            serde_json::from_slice(&text).map_err(|_| ShimError::NoIdentity)?;
        rights::take(user, &identity)?;
        Ok(Some(identity))
    }

    /// The program and its arguments; `given` where the orders name none.
    fn words(&self, given: Vec<OsString>) -> Vec<OsString> {
        if self.spec.command.is_empty() {
            return given;
        }
        let words = self.spec.command.iter();
        words
            .map(|word| word.with(&self.addresses).as_str().into())
            .collect()
    }

    fn surround(&self, command: &mut Command, identity: Option<&Identity>) {
        // A runtime tells who begins as root where root is at home, unless the image or the pod has said.
        let keeps = self.spec.user.as_ref().is_some_and(|user| user.keep_home);
        if let Some(identity) = identity.filter(|_| !keeps)
            && std::env::var_os("HOME").is_none_or(|home| home == *identity.home_of_root)
        {
            command.env("HOME", &identity.home);
        }
        for variable in &self.spec.env {
            command.env(
                &variable.name,
                variable.value.with(&self.addresses).as_str(),
            );
        }
        if let Some(directory) = &self.spec.working_dir {
            command.current_dir(directory);
        }
    }

    /// Runs the program until it ends in the container whose root is `root`; the exit code of the container.
    ///
    /// # Errors
    /// It could not be started.
    pub fn run(&self, root: &str, given: Vec<OsString>) -> Result<i32, ShimError> {
        // From the first moment on: the kernel passes nothing to a first process that takes no signals. The program starts with
        // none taken and none held back.
        let mut signals = Signals::new(taken()).map_err(ShimError::Signals)?;
        self.place()?;
        let attached = self.spec.attach;
        let listener = attached.map(|_| attach::bind(root)).transpose()?;
        let identity = self.give_up_rights()?;
        if let Some(code) = wait::all(&self.spec.after, &mut signals) {
            return Ok(code);
        }
        let mut words = self.words(given).into_iter();
        let program = words.next().ok_or(ShimError::NoProgram)?;
        let mut command = match attached {
            // A terminal wants a program that leads a session.
            Some(attached) if attached.terminal => {
                leading([program.clone()].into_iter().chain(words))
            }
            _ => {
                let mut command = Command::new(&program);
                command.args(words);
                command
            }
        };
        self.surround(&mut command, identity.as_ref());
        let not_started = |why| self.not_started(program, why);
        let (child, hub) = match attached.zip(listener) {
            Some((attached, listener)) => {
                let started = attach::start(command, attached, listener);
                let (child, hub) = started.map_err(not_started)?;
                (child, Some(hub))
            }
            None => (command.spawn().map_err(not_started)?, None),
        };
        let code = attend(Pid::from_child(&child), signals);
        if let Some(hub) = hub {
            hub.end(code);
        }
        self.tell();
        Ok(code)
    }

    /// Becomes the program `given`, with the rights and surroundings of the container's own.
    ///
    /// # Errors
    /// It could not.
    pub fn exec(&self, given: Vec<OsString>) -> Result<std::convert::Infallible, ShimError> {
        let identity = self.follow()?;
        let mut given = given.into_iter();
        let program = given.next().ok_or(ShimError::NoProgram)?;
        let mut command = Command::new(&program);
        command.args(given);
        self.surround(&mut command, identity.as_ref());
        let why = command.exec();
        Err(self.not_started(program, why))
    }

    /// The system does not say whether the program or its directory was not found.
    fn not_started(&self, program: OsString, why: io::Error) -> ShimError {
        let directory = self.spec.working_dir.clone();
        match directory.filter(|path| !Path::new(path).is_dir()) {
            Some(path) => ShimError::WorkingDirectory { path, why },
            None => ShimError::Start { program, why },
        }
    }

    /// Writes the message that the program has left to the log. Whatever it did to the file, this ends.
    fn tell(&self) {
        let Some(file) = &self.spec.message else {
            return;
        };
        // The path in the container: the rights are the program's now.
        if let Some(line) = left(&file.path).and_then(|message| message::frame(&message)) {
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }
}

/// The end of what a program has left in a file.
fn left(path: &str) -> Option<Vec<u8>> {
    use rustix::fs::{OFlags, open};
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut file = std::fs::File::from(open(path, flags, Mode::empty()).ok()?);
    let about = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let most = u64::try_from(message::LONGEST).ok()?;
    file.seek(SeekFrom::Start(about.len().saturating_sub(most)))
        .ok()?;
    let mut end = Vec::new();
    file.take(most).read_to_end(&mut end).ok()?;
    Some(end)
}

/// A file of the operator's.
fn bounded(path: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let read = std::fs::File::open(path)?
        .take(LONGEST + 1)
        .read_to_end(&mut bytes)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > LONGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Copies this program to where the containers find it, under all of its names, and fills the volumes that `beside` names.
///
/// # Errors
/// A file could not be written.
pub fn install(beside: &str, root: &str) -> Result<(), ShimError> {
    let orders = Orders::read(beside, root, true)?;
    let path = "/proc/self/exe".to_owned();
    let program = std::fs::read(&path).map_err(|why| ShimError::Orders { path, why })?;
    orders.root.directory(PROGRAMS, 0o755)?;
    orders.root.write(PROGRAM, &program, 0o555, None)?;
    let tasks = Task::ALL.map(Task::program);
    for name in tasks.iter().map(String::as_str).chain([SHELL]) {
        orders.root.link(name, NAME)?;
    }
    orders.place()
}
