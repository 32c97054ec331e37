//! The faults, on their own thread.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use redis_actix_test::{Direction, Proxy, RedisServer};

/// The server, its proxy and its password.
pub(crate) struct World {
    pub(crate) server: RedisServer,
    pub(crate) proxy: Proxy,
    rotations: AtomicU64,
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

impl World {
    pub(crate) fn new() -> Self {
        let server = RedisServer::builder()
            .appendonly(true)
            .fsync_always()
            .requirepass("canary-0")
            .args(["--loading-process-events-interval-bytes", "1024"])
            .start()
            .unwrap_or_else(|error| panic!("{error}"));
        let proxy = Proxy::start(server.addr()).expect("a proxy");
        let world = Self { server, proxy, rotations: AtomicU64::new(0) };
        world.write_password("canary-0");
        world
    }

    pub(crate) fn password_file(&self) -> PathBuf {
        std::env::temp_dir().join(format!("redis-actix-chaos-{}", std::process::id()))
    }

    fn write_password(&self, password: &str) {
        std::fs::write(self.password_file(), password).expect("written");
    }

    /// The number of clients of the server, without the connection of this call.
    pub(crate) fn clients(&self) -> usize {
        self.server.clients().map_or(usize::MAX, |clients| clients.len())
    }

    fn tell<const N: usize>(&self, words: [&str; N]) {
        // The server may be down or refuse: that is a fault as well.
        let _ = self.server.command(words);
    }

    /// Runs one fault after the other and repairs each before it returns. Returns their names.
    pub(crate) fn break_things(&self, mut chance: fastrand::Rng, time: Duration) -> Vec<&'static str> {
        let until = Instant::now() + time;
        let mut done = Vec::new();
        while Instant::now() < until {
            sleep(ms(chance.u64(5..250)));
            done.push(self.one(&mut chance));
            if chance.u8(..) < 100 {
                self.proxy.pass();
            }
        }
        self.proxy.pass();
        done
    }

    fn one(&self, chance: &mut fastrand::Rng) -> &'static str {
        let proxy = &self.proxy;
        match chance.u8(..22) {
            0 => {
                proxy.reset_all();
                "reset"
            }
            1 => {
                proxy.close_all();
                "close"
            }
            2 | 3 => {
                proxy.cut_after(Direction::ToServer, chance.u64(..3_000));
                "request cut"
            }
            4 | 5 => {
                proxy.cut_after(Direction::ToClient, chance.u64(..3_000));
                "reply cut"
            }
            6 => {
                proxy.hold();
                sleep(ms(chance.u64(50..1_500)));
                proxy.resume();
                "hold"
            }
            7 => {
                let way = if chance.bool() { Direction::ToServer } else { Direction::ToClient };
                proxy.hold_only(way);
                sleep(ms(chance.u64(50..1_500)));
                proxy.resume();
                "hold one way"
            }
            8 => {
                proxy.refuse();
                proxy.reset_all();
                sleep(ms(chance.u64(50..600)));
                proxy.pass();
                "refuse"
            }
            9 => {
                proxy.accept_and_close();
                proxy.reset_all();
                sleep(ms(chance.u64(50..600)));
                proxy.pass();
                "accept and close"
            }
            10 => {
                proxy.accept_and_stay_silent();
                proxy.reset_all();
                sleep(ms(chance.u64(50..600)));
                proxy.pass();
                proxy.reset_all();
                "accept and stay silent"
            }
            11 => {
                proxy.split(chance.usize(1..200));
                "split"
            }
            12 => {
                proxy.delay(ms(chance.u64(1..4)));
                "delay"
            }
            13 => {
                proxy.inject(b"?garbage\r\n");
                "garbage"
            }
            14 => {
                let _ = self.server.stop_process();
                sleep(ms(chance.u64(50..1_500)));
                let _ = self.server.cont_process();
                "server frozen"
            }
            15 | 16 => {
                let _ = self.server.kill();
                sleep(ms(chance.u64(..500)));
                self.server.restart().unwrap_or_else(|error| panic!("{error}"));
                "server killed"
            }
            17 => {
                self.tell(["CLIENT", "PAUSE", "300"]);
                "server paused"
            }
            18 => {
                self.rotate(chance);
                "password rotated"
            }
            19 => {
                self.tell(["CLIENT", "KILL", "TYPE", "normal"]);
                "client killed"
            }
            20 => {
                self.tell(["REPLICAOF", "127.0.0.1", "1"]);
                sleep(ms(chance.u64(20..300)));
                self.tell(["REPLICAOF", "NO", "ONE"]);
                "demoted"
            }
            _ => {
                // Only here: a killed server also waits that long for each command of its log at the restart.
                self.tell(["CONFIG", "SET", "key-load-delay", "10000"]);
                self.tell(["DEBUG", "RELOAD"]);
                self.tell(["CONFIG", "SET", "key-load-delay", "0"]);
                "reload"
            }
        }
    }

    /// Changes the password of the server, disconnects all clients, and changes the file later: in between every login is
    /// refused.
    fn rotate(&self, chance: &mut fastrand::Rng) {
        let password = format!("canary-{}", self.rotations.fetch_add(1, Ordering::Relaxed) + 1);
        if self.server.set_password(Some(&password)).is_ok() {
            self.tell(["CLIENT", "KILL", "TYPE", "normal"]);
            sleep(ms(chance.u64(..300)));
            self.write_password(&password);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.password_file());
    }
}
