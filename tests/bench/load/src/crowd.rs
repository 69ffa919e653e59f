//! Many clients of one broadcast, of which some never read: how late each message reaches those who do.
//!
//! Owns the clock: it writes numbered messages with their time to stdout, which is to be the server's input, and reads
//! them back on every connection. The report goes to stderr. Invariants: latency counts from the time a message was
//! due, not from when it could be written; a number that comes twice or out of order is an error.

use std::io::Write as _;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use crate::options::Options;
use crate::peer::{self, Plan};
use crate::{Outcome, process};

/// Payload bytes of a message.
const SIZE: usize = 200;
/// Longest wait for what is on its way once the last message is written.
const PATIENCE: Duration = Duration::from_secs(5);

/// One that reads: the bytes of a frame that is not whole yet, and the number that comes next.
#[derive(Debug, Default)]
struct Reader {
    part: Vec<u8>,
    next: u64,
    missed: u64,
}

/// Opens all, broadcasts, reads and reports.
pub fn run(options: &Options) -> Outcome<()> {
    let plan = Plan {
        port: options.must("port")?,
        connections: options.or("connections", 5000)?,
        sources: options.or("sources", 1)?,
        deflate: false,
    };
    let (stopped, rate) = (options.or("stopped", 0_usize)?, options.or("rate", 40_u32)?);
    let messages: u64 = options.or("messages", 400)?;
    let pid: Option<u32> = options.maybe("pid")?;
    let mut poll = Poll::new()?;
    let opening = Instant::now();
    let mut peers = peer::open(&mut poll, plan)?;
    let opened = opening.elapsed().as_secs_f64();
    // Those that do not read are not looked at any more. They are spread among the others.
    let every = peers.len().checked_div(stopped).unwrap_or(usize::MAX);
    let is_stopped = |index: usize| index.is_multiple_of(every) && index / every < stopped;
    for (index, peer) in peers.iter_mut().enumerate().filter(|(index, _)| is_stopped(*index)) {
        poll.registry().deregister(&mut peer.stream).map_err(|error| format!("connection {index}: {error}"))?;
    }
    let mut readers: Vec<Reader> = peers.iter().map(|_| Reader::default()).collect();
    let reading = peers.len() - stopped;
    let start = Instant::now();
    let cpu = pid.map(process::cpu_us).transpose()?;
    let interval = Duration::from_secs(1) / rate;
    let due = |number: u64| start + interval * number as u32;
    let mut latencies: Vec<u32> = Vec::new();
    let (mut events, mut buffer) = (Events::with_capacity(1024), vec![0; 64 * 1024]);
    let mut written = 0;
    let mut output = std::io::stdout().lock();
    let last = due(messages) + PATIENCE;
    while (latencies.len() as u64) < messages * reading as u64 && Instant::now() < last {
        while written < messages && Instant::now() >= due(written) {
            let mut line = format!("{written:020}");
            line.push_str(&"x".repeat(SIZE - line.len()));
            line.push('\n');
            output.write_all(line.as_bytes())?;
            output.flush()?;
            written += 1;
        }
        let until = if written < messages { due(written) } else { last };
        poll.poll(&mut events, Some(until.saturating_duration_since(Instant::now())))?;
        for event in &events {
            let index = event.token().0;
            while let Some(len) = peers[index].read(&mut buffer)? {
                let now = Instant::now();
                readers[index].follow(&buffer[..len], |number| {
                    latencies.push(now.saturating_duration_since(due(number)).as_micros() as u32);
                })?;
            }
        }
    }
    let took = start.elapsed().as_secs_f64();
    let cpu = match (pid, cpu) {
        (Some(pid), Some(before)) => process::cpu_us(pid)? - before,
        _ => 0.0,
    };
    let asked = messages * reading as u64;
    let missed: u64 = readers.iter().map(|reader| reader.missed).sum();
    latencies.sort_unstable();
    let ms = |percent: usize| {
        let at = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
        f64::from(latencies.get(at).copied().unwrap_or_default()) / 1000.0
    };
    eprintln!(
        "{{\"connections\":{},\"opened_per_second\":{:.0},\"readers\":{reading},\"asked\":{asked},\"received\":{},\
         \"missed\":{missed},\"p50_ms\":{:.2},\"p99_ms\":{:.2},\"max_ms\":{:.2},\"seconds\":{took:.2},\"cpu_us\":{:.3}}}",
        peers.len(),
        peers.len() as f64 / opened,
        latencies.len(),
        ms(50),
        ms(99),
        ms(100),
        cpu / latencies.len().max(1) as f64,
    );
    Ok(())
}

impl Reader {
    /// Tells the number of each whole message.
    fn follow(&mut self, bytes: &[u8], mut tell: impl FnMut(u64)) -> Outcome<()> {
        self.part.extend(bytes);
        let mut from = 0;
        while let [first, second, rest @ ..] = &self.part[from..] {
            let (head, len) = match *second {
                126 => match rest {
                    [high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
                    _ => break,
                },
                len @ 0..126 => (2, usize::from(len)),
                _ => return Err("a frame that was not asked for".into()),
            };
            let Some(payload) = self.part.get(from + head..from + head + len) else { break };
            match first {
                0x81 => {
                    let number = payload.get(..20).and_then(|digits| std::str::from_utf8(digits).ok());
                    let number: u64 = number.ok_or("a message that is too short")?.parse()?;
                    if number < self.next {
                        return Err(format!("message {number} came again, {} was next", self.next).into());
                    }
                    self.missed += number - self.next;
                    self.next = number + 1;
                    tell(number);
                }
                0x89 => {}
                _ => return Err(format!("an unexpected frame {first:#04x}").into()),
            }
            from += head + len;
        }
        self.part.drain(..from);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;

    #[test]
    fn numbers_are_read_however_the_stream_is_cut() {
        let mut stream = Vec::new();
        for number in [0, 1, 4] {
            frame::push(&mut stream, frame::TEXT, format!("{number:020}{}", "x".repeat(180)).as_bytes(), false);
            frame::push(&mut stream, 0x89, b"", false);
        }
        for step in 1..stream.len() {
            let (mut reader, mut seen) = (Reader::default(), Vec::new());
            for piece in stream.chunks(step) {
                reader.follow(piece, |number| seen.push(number)).expect("frames");
            }
            assert_eq!((seen, reader.missed), (vec![0, 1, 4], 2), "{step}");
        }
        let mut reader = Reader::default();
        let twice = [stream.clone(), stream].concat();
        assert!(reader.follow(&twice, |_| {}).is_err());
    }
}
