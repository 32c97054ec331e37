//! A real server in its own process.

use crate::binary::{find_server, version_of};
use crate::builder::RedisServerBuilder;
use crate::connection::Connection;
use crate::dir::{TempDir, free_port};
use crate::process::Process;
use crate::reply::Reply;
use crate::tally::lock;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// Time limit from the start of a server to its first reply.
const START: Duration = Duration::from_secs(10);
/// The same with data to load.
const RESTART: Duration = Duration::from_secs(30);
/// Pause between two checks of a process or a port.
const POLL: Duration = Duration::from_millis(5);

/// A real `redis-server` or `valkey-server` with a port and a directory of its own.
///
/// The process is killed and the directory removed when this is dropped, also by a panic. All methods take `&self` and may be
/// called from any thread. Persistence is off by default; `DEBUG` is allowed.
#[derive(Debug)]
pub struct RedisServer {
    // Before `dir`: fields are dropped in their order, and the process must be gone before its directory is removed.
    process: Process,
    program: PathBuf,
    version: (u32, u32, u32),
    valkey: bool,
    options: RedisServerBuilder,
    password: Mutex<Option<String>>,
    port: u16,
    tls_port: Option<u16>,
    dir: TempDir,
}

impl RedisServerBuilder {
    /// Starts the server and waits until it answers.
    ///
    /// # Errors
    ///
    /// Where there is no server program ([`MissingServer`](crate::MissingServer) inside), or it ended early or did not
    /// answer within ten seconds; then the error holds the end of its log.
    pub fn start(self) -> io::Result<RedisServer> {
        RedisServer::launch(self)
    }
}

impl RedisServer {
    /// Starts a server without persistence and without a password.
    ///
    /// # Errors
    ///
    /// See [`RedisServerBuilder::start`].
    pub fn start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// Options for a server other than the default one.
    pub fn builder() -> RedisServerBuilder {
        RedisServerBuilder::default()
    }

    fn launch(options: RedisServerBuilder) -> io::Result<Self> {
        let program = match &options.program {
            Some(program) => program.clone(),
            None => find_server()?,
        };
        // It runs in its own directory, where a relative path would point elsewhere.
        let program = if program.components().count() > 1 { std::path::absolute(program)? } else { program };
        let (version, valkey) = version_of(&program)?;
        let dir = TempDir::create()?;
        let mut server = Self {
            process: Process::new(dir.path().join("server.log")),
            program,
            version,
            valkey,
            password: Mutex::new(options.password.clone()),
            port: 0,
            tls_port: None,
            dir,
            options,
        };
        let deadline = Instant::now() + START;
        loop {
            server.port = free_port()?;
            server.tls_port = if server.options.tls_port { Some(free_port()?) } else { None };
            match server.spawn().and_then(|()| server.wait_ready(START)) {
                // Another process took the port between the check and the server's bind.
                Err(e) if e.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {}
                Err(e) => return Err(e),
                Ok(()) => return Ok(server),
            }
        }
    }

    /// The port on 127.0.0.1. It stays the same over [`restart`](Self::restart).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port for TLS, where [`RedisServerBuilder::tls`] was called.
    #[must_use]
    pub fn tls_port(&self) -> Option<u16> {
        self.tls_port
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `redis://127.0.0.1:port`. Without the password: tests give that where they want it to be.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr())
    }

    /// Where the unix socket is (or would be, without [`RedisServerBuilder::unix_socket`]).
    #[must_use]
    pub fn socket_path(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    /// The directory of the server's files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The process, where it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// Major, minor and patch of the server.
    #[must_use]
    pub fn version(&self) -> (u32, u32, u32) {
        self.version
    }

    /// Whether it is a Valkey.
    #[must_use]
    pub fn is_valkey(&self) -> bool {
        self.valkey
    }

    /// What the server has logged since its first start.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Whether the process exists. A frozen one does.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.is_running()
    }

    /// Kills the process with SIGKILL and waits for its end. Nothing happens where it does not run.
    ///
    /// # Errors
    ///
    /// Where the system refuses.
    pub fn kill(&self) -> io::Result<()> {
        self.process.kill()
    }

    /// Kills the server where it runs and starts it again: same port, same directory, same options. Returns when it answers and
    /// has loaded its data.
    ///
    /// # Errors
    ///
    /// Where it does not come back; the error holds the end of its log.
    pub fn restart(&self) -> io::Result<()> {
        let deadline = Instant::now() + RESTART;
        loop {
            self.restart_without_waiting()?;
            match self.wait_ready(RESTART) {
                Err(e) if e.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => thread::sleep(POLL),
                other => return other,
            }
        }
    }

    /// As [`restart`](Self::restart), but returns as soon as the process runs, so that a test can see it loading.
    ///
    /// # Errors
    ///
    /// Where the program cannot be run.
    pub fn restart_without_waiting(&self) -> io::Result<()> {
        self.kill()?;
        self.spawn()
    }

    /// Freezes the process (SIGSTOP): its sockets stay open and are accepted by the system, nothing is answered.
    ///
    /// # Errors
    ///
    /// Where it does not run.
    pub fn stop_process(&self) -> io::Result<()> {
        self.process.stop()
    }

    /// Continues a frozen process (SIGCONT).
    ///
    /// # Errors
    ///
    /// Where it does not run.
    pub fn cont_process(&self) -> io::Result<()> {
        self.process.cont()
    }

    /// A connection that is logged in.
    ///
    /// # Errors
    ///
    /// Where the server is not there, frozen, or refuses the password.
    pub fn connect(&self) -> io::Result<Connection> {
        let password = lock(&self.password).clone();
        Connection::open(self.addr(), password.as_deref())
    }

    /// Runs one command on a new connection, within five seconds. An error reply is a [`Reply::Error`], not an `Err`.
    ///
    /// # Errors
    ///
    /// Where the server is not there, is killed meanwhile, or does not answer in time.
    pub fn command<A: AsRef<[u8]>>(&self, args: impl IntoIterator<Item = A>) -> io::Result<Reply> {
        self.connect()?.command(args)
    }

    /// The lines of `CLIENT LIST`, without the connection of this call.
    ///
    /// # Errors
    ///
    /// As [`command`](Self::command).
    pub fn clients(&self) -> io::Result<Vec<String>> {
        let mut connection = self.connect()?;
        let own = format!("id={} ", connection.command(["CLIENT", "ID"])?.int()?);
        let list = connection.command(["CLIENT", "LIST"])?.text()?;
        Ok(list.lines().filter(|line| !line.starts_with(&own)).map(str::to_owned).collect())
    }

    /// Changes the password of the running server, as an operator rotating it would; clients that are logged in stay so.
    /// The kit's own commands and a restarted server use the new one. `None` takes the password away.
    ///
    /// # Errors
    ///
    /// As [`command`](Self::command).
    pub fn set_password(&self, password: Option<&str>) -> io::Result<()> {
        self.command(["CONFIG", "SET", "requirepass", password.unwrap_or("")])?.ok()?;
        *lock(&self.password) = password.map(str::to_owned);
        Ok(())
    }

    /// Waits until the server answers and has loaded its data.
    ///
    /// # Errors
    ///
    /// Where it ended or does not answer in time; the error holds the end of its log.
    pub fn wait_ready(&self, within: Duration) -> io::Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let ready = self.answers();
            // Checked after the reply: a server that lost the port to another one ends, and the other one replies.
            if !self.is_running() {
                return Err(self.ended());
            }
            if ready {
                return Ok(());
            }
            if Instant::now() > deadline {
                let text = format!("the server did not answer within {within:?}:\n{}", self.process.log_tail());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            thread::sleep(POLL);
        }
    }

    /// Whether this server answers PING with its data loaded.
    fn answers(&self) -> bool {
        let Ok(mut connection) = self.connect() else {
            return false;
        };
        match connection.command(["PING"]) {
            Ok(Reply::Error(text)) if text.starts_with("LOADING") => return false,
            Ok(_) => {}
            Err(_) => return false,
        }
        // Two servers that start together may get the same port, and only one can bind it. The directory identifies it.
        match connection.command(["CONFIG", "GET", "dir"]) {
            Ok(Reply::Array(items)) => items
                .get(1)
                .and_then(Reply::bytes)
                .is_none_or(|dir| dir == self.dir.path().as_os_str().as_encoded_bytes()),
            // Renamed or forbidden by options of the test.
            Ok(_) => true,
            Err(_) => false,
        }
    }

    fn spawn(&self) -> io::Result<()> {
        let mut command = Command::new(&self.program);
        command.current_dir(self.dir.path());
        if self.options.sentinel {
            // A sentinel stores its state in its configuration file, and accepts few options.
            let file = self.dir.path().join("sentinel.conf");
            let dir = self.dir.path().display();
            let port = format!("port {}", self.port);
            // Kept over a restart, as it holds what the sentinel has learned, unless it is of an attempt at another port.
            let kept = std::fs::read_to_string(&file).is_ok_and(|text| text.lines().any(|line| line == port));
            if !kept {
                let tls = self.tls_port.map(|port| format!("tls-port {port}\n")).unwrap_or_default();
                let password = lock(&self.password).as_deref().map(|password| format!("requirepass {password}\n"));
                let password = password.unwrap_or_default();
                std::fs::write(&file, format!("{port}\n{tls}bind 127.0.0.1\ndir {dir}\n{password}"))?;
            }
            return self.process.spawn(command.arg(file).arg("--sentinel").args(&self.options.extra));
        }
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .arg("--dir")
            .arg(self.dir.path())
            .args(["--daemonize", "no", "--logfile", "", "--save", ""]);
        if self.version >= (7, 0, 0) {
            command.args(["--enable-debug-command", "yes"]);
        }
        if let Some(port) = self.tls_port {
            command.args(["--tls-port", &port.to_string()]);
        }
        if self.options.unix_socket {
            command.arg("--unixsocket").arg(self.socket_path());
        }
        if let Some(password) = lock(&self.password).as_deref() {
            // `masterauth` too, so that a replica of such a server may be one itself.
            command.args(["--requirepass", password, "--masterauth", password]);
        }
        let environment = self.options.environment.iter().map(|(name, value)| (name, value));
        self.process.spawn(command.args(&self.options.extra).envs(environment))
    }

    fn ended(&self) -> io::Error {
        let tail = self.process.log_tail();
        let kind = if tail.contains("ddress already in use") { io::ErrorKind::AddrInUse } else { io::ErrorKind::Other };
        io::Error::new(kind, format!("{} ended at once:\n{tail}", self.program.display()))
    }
}
