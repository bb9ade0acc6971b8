//! `vkc-shim`: see the library, and docs/shim.md.
//!
//! ```text
//! vkc-shim install               copy the program, fill volumes (the first init container)
//! vkc-shim run [-- PROGRAM …]    place files, give up rights, run the container's program
//! vkc-shim exec -- PROGRAM …     become PROGRAM, with the rights and the environment of the container's own
//! sh                             the same, and PROGRAM is /bin/sh
//! vkc-update                     bring volumes up to date, as who types says (also: vkc-shim update)
//! vkc-terminate, vkc-kill        send signals to the container's program
//! vkc-exec                       run a program, be a connection, or attach, as who types says (also: vkc-shim serve)
//! vkc-shim lead -- PROGRAM …     become PROGRAM in a session of its own (vkc-exec starts it)
//! ```

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("vkc-shim: it runs in Linux containers only");
    ExitCode::FAILURE
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsString;
    use std::process::ExitCode;

    use vkc_shim::process::{LEAD, NOT_STARTED, Orders, ShimError, install, lead, serve};
    use vkc_shim::session::Task;
    use vkc_shim::spec::ORDERS;

    const USAGE: &str = "vkc-shim: usage: vkc-shim install | update | serve | run [-- PROGRAM ...] | exec -- PROGRAM ... | --version";
    const SHELL: &str = "/bin/sh";

    pub(super) fn main() -> ExitCode {
        let mut arguments = std::env::args_os();
        let own = arguments.next().unwrap_or_default();
        // A login shell has a hyphen before its name.
        let own = own.to_str().unwrap_or_default();
        let is_shell = own.rsplit(['/', '-']).next() == Some("sh");
        let name = own.rsplit('/').next();
        if let Some(task) = Task::ALL.into_iter().find(|it| Some(it.name()) == name) {
            return exit(serve(task, "/"));
        }
        let done = if is_shell {
            let program = [OsString::from(SHELL)].into_iter().chain(arguments);
            Orders::read(ORDERS, "/", false)
                .and_then(|orders| never(orders.exec(program.collect())))
        } else {
            command(arguments)
        };
        match done {
            Ok(code) => exit(code),
            Err(error) => {
                say(&error);
                exit(error.exit_code())
            }
        }
    }

    fn command(mut arguments: impl Iterator<Item = OsString>) -> Result<i32, ShimError> {
        let what = arguments.next();
        let (mut orders, mut root) = (ORDERS.to_owned(), "/".to_owned());
        let mut program = Vec::new();
        // Where things are is on the command line, which is the operator's: never in the environment, which is the image's too.
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().and_then(|it| it.into_string().ok());
            match argument.to_str() {
                Some("--") => program.extend(arguments.by_ref()),
                Some("--spec") => orders = value().unwrap_or_default(),
                Some("--root") => root = value().unwrap_or_default(),
                _ => return Ok(usage()),
            }
        }
        match what.as_ref().and_then(|it| it.to_str()) {
            Some("install") => install(&orders, &root).map(|()| 0),
            Some("update") => Ok(serve(Task::Update, &root)),
            Some("serve") => Ok(serve(Task::Run, &root)),
            Some("run") => Orders::read(&orders, &root, false)?.run(&root, program),
            Some(LEAD) => never(lead(program)),
            Some("exec") => never(Orders::read(&orders, &root, false)?.exec(program)),
            Some("--version") => {
                println!("vkc-shim {}", env!("CARGO_PKG_VERSION"));
                Ok(0)
            }
            _ => Ok(usage()),
        }
    }

    fn never(done: Result<std::convert::Infallible, ShimError>) -> Result<i32, ShimError> {
        match done {
            Ok(never) => match never {},
            Err(error) => Err(error),
        }
    }

    /// In one line, whatever a path has in it.
    fn say(error: &ShimError) {
        let line = error.to_string().replace(char::is_control, "?");
        eprintln!("vkc-shim: {line}");
    }

    fn usage() -> i32 {
        eprintln!("{USAGE}");
        NOT_STARTED
    }

    fn exit(code: i32) -> ExitCode {
        u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
    }
}
