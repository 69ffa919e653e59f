//! A file as the sink of a pipeline: a line a message, appended by a thread of its own.
//!
//! Leaves the file to `appender` and when it is put aside to `rotation`. A slow disk stops neither pings nor signals,
//! because only the thread waits for it. Invariants: one block is with the thread and one fills up meanwhile; a message
//! is settled once its line is in the file, and on disk where that is asked for; after a failure the rest waits again.

mod appender;
mod rotation;

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};

use self::appender::{Appender, Block, Failure};
pub(crate) use self::rotation::Rotation;
use super::line;
use crate::exit::Exit;
use crate::message::io_text::io_text;
use crate::message::render::Format;
use crate::queue::end::{End, EndError, EndIo, LocalFuture};
use crate::queue::envelope::Envelope;
use crate::queue::lane::Lane;
use crate::queue::stop::Step;

/// A block this large waits for the thread before more is taken.
const BLOCK: usize = 256 * 1024;
/// Messages that may wait to be brought to disk; then they are, whatever the interval.
const UNSYNCED: usize = 10_000;
/// Payload bytes that may.
const UNSYNCED_BYTES: usize = 8 * 1024 * 1024;

/// When what was written is brought to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fsync {
    /// When the system does it: what was written survives a crash of this program, but not of the machine.
    Never,
    /// With every block, before its messages are settled.
    Batch,
    /// At the latest after this time; messages are settled then.
    Every(Duration),
}

#[derive(Debug)]
pub(crate) struct FileSink {
    pub path: PathBuf,
    pub format: Format,
    pub rotation: Rotation,
    /// When it is brought to disk.
    pub fsync: Fsync,
}

impl End for FileSink {
    fn run(self: Box<Self>, io: EndIo) -> LocalFuture<'static, Result<(), EndError>> {
        Box::pin(async move {
            let Some(lane) = io.lane.clone() else { return Ok(()) };
            let mut writing = Writing::start(*self, lane);
            let stop = Rc::clone(&io.stop);
            let result = stop.unless(Step::Aborting, poll_fn(|cx| writing.poll(cx))).await.unwrap_or(Ok(()));
            // What the thread has at an abort goes back, unsettled, although it may yet be written.
            writing.lane.requeue(writing.unsettled.drain(..));
            result
        })
    }
}

/// What the thread is asked to do.
enum Job {
    Open,
    Append(Block, bool),
    Sync,
    PutAside,
    Close,
}

/// What it says when it has.
struct Done {
    /// To be filled again.
    block: Option<Block>,
    /// Messages whose lines are in the file.
    lines: usize,
    /// Everything written until now is on disk.
    synced: bool,
    result: Result<(), Failure>,
    /// How long until the file is to be put aside.
    rest_of_period: Option<Duration>,
}

fn work(mut appender: Appender, jobs: &std::sync::mpsc::Receiver<Job>, answers: &mpsc::Sender<Done>) {
    while let Ok(job) = jobs.recv() {
        let mut done = Done { block: None, lines: 0, synced: false, result: Ok(()), rest_of_period: None };
        match job {
            Job::Open => done.result = appender.open(),
            Job::Append(mut block, sync) => {
                (done.lines, done.result) = appender.append(&block, SystemTime::now());
                if sync {
                    let synced = appender.sync();
                    done.synced = synced.is_ok();
                    done.result = done.result.and(synced);
                }
                block.bytes.clear();
                block.bytes.shrink_to(2 * BLOCK);
                block.ends.clear();
                done.block = Some(block);
            }
            Job::Sync => {
                done.result = appender.sync();
                done.synced = done.result.is_ok();
            }
            Job::PutAside => done.result = appender.put_aside_if_old(SystemTime::now()),
            Job::Close => done.result = appender.close(),
        }
        done.rest_of_period = appender.rest_of_period(SystemTime::now());
        if answers.blocking_send(done).is_err() {
            return;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Busy {
    No,
    Writing,
    Closing,
}

/// A file being written.
struct Writing {
    settings: FileSink,
    lane: Rc<Lane>,
    jobs: std::sync::mpsc::Sender<Job>,
    answers: mpsc::Receiver<Done>,
    busy: Busy,
    /// Fills up while the thread is busy.
    block: Block,
    /// What comes back from the thread.
    spare: Block,
    /// Not settled: first those in the file, then those with the thread, then those in the block.
    unsettled: VecDeque<Envelope>,
    unsettled_bytes: usize,
    /// How many of them are in the file.
    written: usize,
    sync: Option<Pin<Box<Sleep>>>,
    put_aside: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl Writing {
    fn start(settings: FileSink, lane: Rc<Lane>) -> Self {
        let (jobs, their_jobs) = std::sync::mpsc::channel();
        let (their_answers, answers) = mpsc::channel(1);
        let appender = Appender::new(settings.path.clone(), settings.rotation, settings.fsync != Fsync::Never);
        std::thread::spawn(move || work(appender, &their_jobs, &their_answers));
        let mut writing = Self {
            settings,
            lane,
            jobs,
            answers,
            busy: Busy::No,
            block: Block::default(),
            spare: Block::default(),
            unsettled: VecDeque::new(),
            unsettled_bytes: 0,
            written: 0,
            sync: None,
            put_aside: None,
            ended: false,
        };
        writing.ask(Job::Open);
        writing
    }

    fn ask(&mut self, job: Job) {
        self.busy = if matches!(job, Job::Close) { Busy::Closing } else { Busy::Writing };
        // One job at a time, so that it never fills up; a thread that is gone is noticed by its answers.
        let _ = self.jobs.send(job);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EndError>> {
        loop {
            if self.busy != Busy::No
                && let Poll::Ready(done) = self.answers.poll_recv(cx)
            {
                let was_closing = self.busy == Busy::Closing;
                self.busy = Busy::No;
                let Some(done) = done else {
                    let text = format!("{}: its thread ended unexpectedly", self.lane.name);
                    return Poll::Ready(Err(EndError::new(Exit::Internal, text)));
                };
                if let Err(failure) = self.answered(done) {
                    self.lane.requeue(self.unsettled.drain(..));
                    return Poll::Ready(Err(self.error(&failure)));
                }
                if was_closing {
                    return Poll::Ready(Ok(()));
                }
            }
            self.take_in(cx);
            if self.busy != Busy::No {
                return Poll::Pending;
            }
            if !self.next_job(cx) {
                return Poll::Pending;
            }
        }
    }

    fn answered(&mut self, done: Done) -> Result<(), Failure> {
        if let Some(block) = done.block {
            self.spare = block;
        }
        self.written += done.lines;
        let is_safe = done.synced || self.settings.fsync == Fsync::Never;
        if is_safe {
            self.sync = None;
            for envelope in self.unsettled.drain(..self.written) {
                self.unsettled_bytes -= envelope.message.len();
                self.lane.took(envelope);
            }
            self.written = 0;
        } else if let Fsync::Every(interval) = self.settings.fsync
            && self.written > 0
        {
            self.sync.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + interval)));
        }
        self.put_aside = done.rest_of_period.map(|rest| Box::pin(sleep_until(Instant::now() + rest)));
        done.result
    }

    /// Makes lines of what waits, as far as there is room.
    fn take_in(&mut self, cx: &mut Context<'_>) {
        while !self.ended && self.has_room() {
            match self.lane.poll_next(cx) {
                Poll::Ready(Some(envelope)) => {
                    line::append(&mut self.block.bytes, self.settings.format, &envelope);
                    self.block.ends.push(self.block.bytes.len());
                    self.unsettled_bytes += envelope.message.len();
                    self.unsettled.push_back(envelope);
                }
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => return,
            }
        }
    }

    fn has_room(&self) -> bool {
        self.block.bytes.len() < BLOCK && self.unsettled.len() < UNSYNCED && self.unsettled_bytes < UNSYNCED_BYTES
    }

    /// Gives the thread something to do; false when there is nothing now.
    fn next_job(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.block.ends.is_empty() {
            let block = std::mem::replace(&mut self.block, std::mem::take(&mut self.spare));
            self.ask(Job::Append(block, self.settings.fsync == Fsync::Batch));
            return true;
        }
        let is_due = |timer: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>| {
            timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
        };
        if self.written > 0 && (self.ended || !self.has_room() || is_due(&mut self.sync, cx)) {
            self.sync = None;
            self.ask(Job::Sync);
            return true;
        }
        if self.ended {
            self.ask(Job::Close);
            return true;
        }
        if is_due(&mut self.put_aside, cx) {
            self.put_aside = None;
            self.ask(Job::PutAside);
            return true;
        }
        false
    }

    fn error(&self, failure: &Failure) -> EndError {
        let path = self.settings.path.display();
        let error =
            EndError::new(Exit::Storage, format!("cannot {} {path}: {}", failure.verb, io_text(&failure.error)));
        match failure.error.kind() {
            io::ErrorKind::NotFound => error.hint("create the directory first; wsp does not create it"),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                error.hint("queued messages were not written; limit file sizes with --rotate-size and --rotate-keep")
            }
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::queue::LaneSettings;
    use crate::queue::OverflowPolicy;
    use crate::queue::envelope::Origin;
    use crate::queue::ledger::Ledger;
    use jiff::Timestamp;

    fn push(lane: &Lane, ledger: &Rc<Ledger>, count: usize) {
        for number in 0..count {
            let receipt = ledger.receive(1, None);
            let message = Message::text(number.to_string());
            let (origin, time) = (Origin::new("s1", "-"), Timestamp::now());
            lane.push(Envelope { message, origin, time, seq: 1, attempts: 0, receipt });
        }
    }

    /// What has been delivered once everything is in the file but the lane has not ended, and when it has.
    fn delivered(fsync: Fsync, count: usize) -> (u64, u64) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("out");
        let settings = LaneSettings { max_messages: 20_000, max_bytes: 1 << 20, policy: OverflowPolicy::Block };
        let (lane, ledger) = (Rc::new(Lane::new("file:out", settings)), Rc::new(Ledger::default()));
        push(&lane, &ledger, count);
        let sink = FileSink { path: path.clone(), format: Format::Raw, rotation: Rotation::default(), fsync };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let mut writing = Writing::start(sink, Rc::clone(&lane));
            let lines = || std::fs::read_to_string(&path).unwrap_or_default().lines().count();
            poll_fn(|cx| {
                assert!(writing.poll(cx).is_pending(), "the lane has not ended");
                if lines() == count && writing.busy == Busy::No { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            let before = ledger.delivered.get();
            lane.end();
            poll_fn(|cx| writing.poll(cx)).await.expect("it is written");
            (before, ledger.delivered.get())
        })
    }

    #[test]
    fn messages_are_settled_when_they_are_as_safe_as_was_asked_for() {
        let hourly = Fsync::Every(Duration::from_secs(3600));
        assert_eq!(delivered(Fsync::Never, 10), (10, 10));
        assert_eq!(delivered(Fsync::Batch, 10), (10, 10));
        assert_eq!(delivered(hourly, 10), (0, 10));
        // What waits is bounded: it does not wait for the hour to pass.
        assert_eq!(delivered(hourly, UNSYNCED + 10), (UNSYNCED as u64, UNSYNCED as u64 + 10));
        assert_eq!(delivered(Fsync::Every(Duration::from_millis(1)), 0), (0, 0));
    }
}
