//! `wsp-load`: raw WebSocket peers for the benchmarks, cheap enough not to be what is measured.
//!
//! Owns the command line of the jobs: `flood` (a server that sends), `drain` (one that reads), `echo` (clients that
//! count replies), `idle` (clients that hold connections), `crowd` (clients of one broadcast), each printing one line of JSON, and
//! `floor` (the cheapest echo server there can be) and `store` (the spool's store in a bare loop).
//! Loopback only; every run is bounded by a count or a time. `tests/bench/run` drives it.

mod crowd;
mod drain;
mod echo;
mod flood;
mod floor;
mod frame;
mod idle;
mod late;
mod options;
mod peer;
mod process;
mod store;

use std::process::ExitCode;

use options::Options;

/// Any failure ends the run: a benchmark that half works measures nothing.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "\
usage:
  wsp-load flood [--count 1000000] [--size 200] [--rounds 1]
  wsp-load drain [--size 200] [--count N]
  wsp-load echo  --port P [--connections 100] [--size 20] [--depth 1] [--warmup 0.5] [--seconds 2] [--pid PID]
  wsp-load floor [--size 20]
  wsp-load late  [--ms 5]
  wsp-load idle  --port P [--connections 5000] [--sources 1] [--message BYTES] [--deflate] [--settle 2] [--pid PID]
  wsp-load crowd --port P [--connections 5000] [--sources 1] [--stopped 0] [--rate 40] [--messages 400] [--pid PID]
  wsp-load store --directory DIR [--count 1000000] [--group 5000] [--size 200] [--packed]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wsp-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let job = arguments.next().unwrap_or_default();
    let options = Options::read(arguments)?;
    match job.as_str() {
        "flood" => flood::run(&options),
        "drain" => drain::run(&options),
        "floor" => floor::run(&options),
        "echo" => echo::run(&options),
        "idle" => idle::run(&options),
        "crowd" => crowd::run(&options),
        "store" => store::run(&options),
        "late" => late::run(&options),
        _ => Err(USAGE.into()),
    }
}
