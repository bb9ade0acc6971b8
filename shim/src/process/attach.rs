//! A program whose input, or terminal, people can have: who attaches is connected with it by a socket in the container's own file
//! system, which no other container of the pod sees.
//!
//! What the program writes goes to the log of the container, and to all who are attached; as with a kubelet the program waits for
//! who takes nothing. Both ends of the socket speak as a [session](crate::session) does; the session of ACI's only passes it on.

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::ShimError;
use super::outputs::Outputs;
use super::session::{put, told};
use super::started::{Input, Started, on_pipes, on_terminal, resize};
use super::window::Window;
use crate::session::{Said, Size, Source, Told};
use crate::spec::{ATTACH, Attached};

/// A terminal before anybody has told a size.
const SIZE: Size = Size {
    rows: 24,
    columns: 80,
};
/// Who is attached has this long to take what was written before the end, and then to hear of it.
const LINGER: Duration = Duration::from_secs(10);
const LAST: Duration = Duration::from_secs(1);
/// The place where people attach has this long to be made.
const PATIENCE: Duration = Duration::from_secs(3);
/// Who may be attached at once.
const MOST: usize = 16;

/// Where people attach. As root, before rights are given up.
///
/// # Errors
/// It cannot be made.
pub(super) fn bind(root: &str) -> Result<UnixListener, ShimError> {
    let path = format!("{root}{ATTACH}");
    // One of an earlier run.
    let _ = fs::remove_file(&path);
    UnixListener::bind(&path)
        .and_then(|listener| {
            // Whoever the program is; nobody else is in the container.
            fs::set_permissions(&path, Permissions::from_mode(0o666))?;
            Ok(listener)
        })
        .map_err(|why| ShimError::Orders { path, why })
}

/// Starts a program that people can attach to.
pub(super) fn start(
    command: Command,
    attached: Attached,
    listener: UnixListener,
) -> io::Result<(Child, Hub)> {
    let started = if attached.terminal {
        on_terminal(command, SIZE)?
    } else {
        on_pipes(command, attached.input)?
    };
    let Started {
        input,
        outputs,
        child,
        terminal,
    } = started;
    let child = child.ok_or(io::ErrorKind::NotFound)?;
    let shared = Arc::new(Shared {
        // A terminal has an input by itself, and the pod may not want one.
        input: Mutex::new(input.filter(|_| attached.input)),
        terminal,
        once: attached.once && !attached.terminal,
        clients: Mutex::default(),
    });
    let shown = shared.clone();
    let outputs = Outputs::read(outputs, move |source, bytes| shown.show(source, bytes));
    let own = shared.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // One that went away again.
            let Ok(stream) = stream else { continue };
            own.admit(stream);
        }
    });
    Ok((child, Hub { shared, outputs }))
}

/// Who is attached to a program, and its outputs.
pub(super) struct Hub {
    shared: Arc<Shared>,
    outputs: Outputs,
}

impl Hub {
    /// The program has ended: what it has written still goes its way, and those who are attached hear of the end. Nobody keeps the
    /// container from ending who takes nothing.
    pub(super) fn end(self, code: i32) {
        let Self { shared, outputs } = self;
        let since = Instant::now();
        outputs.end_or_silence(|| shared.has_moved() && since.elapsed() <= LINGER);
        let (told, all) = channel::<()>();
        for client in std::mem::take(&mut *shared.clients()) {
            let told = told.clone();
            thread::spawn(move || {
                client.tell(&Said::Ended(code));
                let _ = client.stream.shutdown(Shutdown::Write);
                // It reads what there is, and goes.
                let _ = (&client.stream).read(&mut [0]);
                drop(told);
            });
        }
        drop(told);
        let _ = all.recv_timeout(LAST);
    }
}

struct Shared {
    input: Mutex<Option<Input>>,
    terminal: Option<File>,
    /// Whether input ends with the first who has given some.
    once: bool,
    clients: Mutex<Vec<Arc<Client>>>,
}

struct Client {
    stream: UnixStream,
    /// A line is whole.
    telling: Mutex<()>,
    window: Window,
}

impl Client {
    fn tell(&self, what: &Said) {
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        // Who has gone is noticed where it is listened to.
        let _ = (&self.stream).write_all(what.write().as_bytes());
    }
}

impl Shared {
    fn clients(&self) -> MutexGuard<'_, Vec<Arc<Client>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_moved(&self) -> bool {
        self.clients()
            .iter()
            .any(|client| client.window.has_moved())
    }

    fn show(&self, source: Source, bytes: &[u8]) {
        // Without a log there is nobody to tell.
        let _ = match source {
            Source::Output => put(&mut io::stdout().lock(), bytes),
            Source::Error => put(&mut io::stderr().lock(), bytes),
        };
        let clients: Vec<Arc<Client>> = self.clients().clone();
        for client in clients {
            if client.window.wait() {
                client.tell(&Said::Bytes(source, bytes.to_vec()));
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: UnixStream) {
        let client = Arc::new(Client {
            stream,
            telling: Mutex::default(),
            window: Window::default(),
        });
        let mut clients = self.clients();
        if clients.len() >= MOST {
            let why = format!("{MOST} are attached already");
            return client.tell(&Said::Failed(why));
        }
        clients.push(client.clone());
        drop(clients);
        client.tell(&Said::Begun);
        let shared = self.clone();
        thread::spawn(move || {
            shared.listen(&client);
            client.window.close();
            shared.clients().retain(|it| !Arc::ptr_eq(it, &client));
            let _ = client.stream.shutdown(Shutdown::Both);
        });
    }

    /// Hears one who is attached, to the end.
    fn listen(&self, client: &Client) {
        let mut typed = BufReader::new(&client.stream);
        let mut has_given = false;
        while let Ok(Some(it)) = told(&mut typed) {
            match it {
                Told::Input(bytes) => {
                    has_given = true;
                    let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
                    if input.as_mut().is_some_and(|to| to.write(&bytes).is_err()) {
                        // It reads no more; what still comes is passed over.
                        *input = None;
                    }
                    drop(input);
                    client.tell(&Said::More);
                }
                Told::EndOfInput => {
                    has_given = true;
                    if self.once {
                        break_off(&self.input);
                    }
                }
                Told::More => client.window.taken(),
                Told::Size(size) => {
                    if let Some(terminal) = &self.terminal {
                        resize(terminal, size);
                    }
                }
                Told::Interrupt => break,
            }
        }
        if self.once && has_given {
            break_off(&self.input);
        }
    }
}

fn break_off(input: &Mutex<Option<Input>>) {
    let mut input = input.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(input) = input.take() {
        input.end();
    }
}

/// A session that is attached to the program of the container whose root is `root`: it passes on what both sides say.
///
/// # Errors
/// Nobody can attach there.
pub(super) fn relay(root: &str) -> Result<(), ShimError> {
    let path = format!("{root}{ATTACH}");
    let started = Instant::now();
    let (socket, back) = loop {
        let connected = UnixStream::connect(&path).and_then(|it| Ok((it.try_clone()?, it)));
        match connected {
            Ok(both) => break both,
            // A container may be said to run before its first process has made the place.
            Err(_) if started.elapsed() < PATIENCE => thread::sleep(PATIENCE / 100),
            Err(why) => return Err(ShimError::Orders { path, why }),
        }
    };
    thread::spawn(move || {
        let _ = pass(io::stdin().lock(), &socket);
        let _ = socket.shutdown(Shutdown::Both);
    });
    // The end of either side is the end of both.
    let _ = pass(BufReader::new(back), io::stdout());
    Ok(())
}

fn pass(mut from: impl BufRead, mut to: impl Write) -> io::Result<()> {
    loop {
        let bytes = from.fill_buf()?;
        let read = bytes.len();
        if read == 0 {
            return Ok(());
        }
        put(&mut to, bytes)?;
        from.consume(read);
    }
}
