//! The cost of the prefix: building and sealing a message, compared with encoding it without a prefix.
//!
//! `cargo bench --bench sealing` prints the ratio of medians over interleaved rounds, and fails above the bar.
//! `cargo bench --bench sealing -- get-sealed` runs one case alone, for an instruction count under callgrind.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use redis_actix::{Command as _, Frame, Get, KeyPrefix, MSet};

/// Maximum ratio.
const BAR: f64 = 1.15;
const ROUNDS: usize = 401;
const KEYS: usize = 100;

type Case = fn(&Bench, &mut BytesMut);

struct Bench {
    prefix: KeyPrefix,
    none: KeyPrefix,
    keys: Vec<String>,
    value: &'static str,
    get: Frame,
    mset: Frame,
}

impl Bench {
    fn new() -> Self {
        let keys: Vec<String> = (0..KEYS).map(|n| format!("user:{n:08}:profile")).collect();
        let mut bench = Self {
            prefix: KeyPrefix::new("whatsapp:production:").expect("valid"),
            none: KeyPrefix::none(),
            value: "{\"name\":\"ada\",\"seen\":1700000000}",
            get: Frame::default(),
            mset: Frame::default(),
            keys,
        };
        bench.get = bench.typed_get();
        bench.mset = bench.typed_mset();
        bench
    }

    fn typed_get(&self) -> Frame {
        Get::<String>::new(black_box(&self.keys[0])).into_frame()
    }

    fn typed_mset(&self) -> Frame {
        MSet::new(black_box(&self.keys).iter().map(|key| (key, self.value))).into_frame()
    }

    /// The same arguments without marks.
    fn words_of_get(&self) -> Frame {
        Frame::new("GET").arg(black_box(&self.keys[0]))
    }

    fn words_of_mset(&self) -> Frame {
        black_box(&self.keys).iter().fold(Frame::new("MSET"), |frame, key| frame.arg(key).arg(self.value))
    }
}

/// The name, the repetitions per round, and the functions with and without the prefix.
const CASES: [(&str, usize, Case, Case); 6] = [
    (
        "get",
        2_000,
        |bench, out| bench.prefix.encode_frame(&bench.typed_get(), out),
        |bench, out| bench.none.encode_frame(&bench.typed_get(), out),
    ),
    (
        "mset of 100",
        40,
        |bench, out| bench.prefix.encode_frame(&bench.typed_mset(), out),
        |bench, out| bench.none.encode_frame(&bench.typed_mset(), out),
    ),
    (
        "get, nothing marked",
        2_000,
        |bench, out| bench.prefix.encode_frame(&bench.typed_get(), out),
        |bench, out| bench.none.encode_frame(&bench.words_of_get(), out),
    ),
    (
        "mset of 100, nothing marked",
        40,
        |bench, out| bench.prefix.encode_frame(&bench.typed_mset(), out),
        |bench, out| bench.none.encode_frame(&bench.words_of_mset(), out),
    ),
    (
        "get, sealing alone",
        4_000,
        |bench, out| bench.prefix.encode_frame(&bench.get, out),
        |bench, out| bench.none.encode_frame(&bench.get, out),
    ),
    (
        "mset of 100, sealing alone",
        200,
        |bench, out| bench.prefix.encode_frame(&bench.mset, out),
        |bench, out| bench.none.encode_frame(&bench.mset, out),
    ),
];
/// The messages with a bar, from construction to bytes; the others show where the time goes.
const BARRED: usize = 2;

fn time(bench: &Bench, case: Case, times: usize, out: &mut BytesMut) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        out.clear();
        case(bench, out);
        black_box(&out);
    }
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() -> ExitCode {
    let bench = Bench::new();
    let mut out = BytesMut::with_capacity(64 * 1024);
    let alone = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    if let Some(name) = alone {
        let case: Case = match name.as_str() {
            "get-sealed" => CASES[0].2,
            "get-none" => CASES[0].3,
            "get-plain" => CASES[2].3,
            "mset-sealed" => CASES[1].2,
            "mset-none" => CASES[1].3,
            "mset-plain" => CASES[3].3,
            "nothing" => |_, _| {},
            _ => {
                eprintln!("get-sealed, get-none, get-plain, mset-sealed, mset-none, mset-plain or nothing");
                return ExitCode::from(2);
            }
        };
        time(&bench, case, 1_000, &mut out);
        return ExitCode::SUCCESS;
    }
    let mut dearest: f64 = 0.0;
    for (number, (name, times, with, without)) in CASES.into_iter().enumerate() {
        let (mut withs, mut withouts) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            // The second run finds warm caches, so the order alternates.
            for second in [false, true] {
                if second == (round % 2 == 0) {
                    withs.push(time(&bench, with, times, &mut out));
                } else {
                    withouts.push(time(&bench, without, times, &mut out));
                }
            }
        }
        let (with, without) = (median(withs), median(withouts));
        let ratio = with.as_secs_f64() / without.as_secs_f64();
        let each = |time: Duration| time.as_secs_f64() * 1e9 / times as f64;
        println!("{name:<30} {:>9.1} ns, without a prefix {:>9.1} ns, ratio {ratio:.3}", each(with), each(without));
        if number < BARRED {
            dearest = dearest.max(ratio);
        }
    }
    println!("dearest message: {dearest:.3}, at most {BAR} is allowed");
    if dearest <= BAR { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
