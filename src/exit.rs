//! Exit codes: one table for every subcommand, and what `wsp --help` and the man page print of it.
//!
//! Owns the numbers and their meaning. Which error becomes which code is decided in [`crate::error`].

/// Why the process ends, as the number the shell sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Normal close, end of input, user quit, stdout closed early.
    Done = 0,
    /// A fault of this program or its surroundings that no other code names.
    Internal = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The peer broke the WebSocket protocol (RFC 6455).
    Protocol = 3,
    /// Could not bind the listen address.
    Bind = 4,
    /// The upgrade was answered with something other than 101.
    UpgradeRefused = 5,
    /// The upgrade answer is invalid.
    UpgradeMalformed = 6,
    /// A jq filter, schema or template does not compile, or a filter cannot be stopped.
    Compile = 7,
    /// TLS could not be set up.
    Tls = 8,
    /// Connection lost, closed with an error code, peer unresponsive or retries spent.
    Lost = 9,
    /// TCP refused, unreachable or the connect timeout ran out.
    Connect = 14,
    /// The name has no address.
    NoAddress = 20,
    /// The look-up of the name failed.
    LookupFailed = 21,
    /// Relay: something undelivered or dead-lettered remains.
    Undelivered = 30,
    /// Messages were dropped under `--fail-on-drop`.
    Dropped = 31,
    /// The spool, a recording or a dead-letter file failed.
    Storage = 32,
    /// Bench: a threshold was missed.
    Threshold = 40,
    /// Bench: the measurement is invalid.
    Invalid = 41,
    /// `--expect` was not met, or a message not valid under `--fail-on-invalid`.
    Expectation = 42,
    /// `--timeout` ran out.
    Timeout = 124,
    /// Ended by SIGINT.
    Interrupted = 130,
    /// Ended by SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// The number the shell sees.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// The table of exit codes, as help and man page print it.
pub(crate) const TABLE: &str = "    0  done: normal close, end of input, user quit, stdout closed early
    1  internal error
    2  usage or configuration
    3  peer broke the WebSocket protocol
    4  cannot bind or listen
    5  upgrade refused (an HTTP answer other than 101)
    6  upgrade answer malformed
    7  jq filter, schema or template does not compile, or a filter cannot be stopped
    8  TLS
    9  connection lost, closed with a code other than 1000/1001/1005,
       peer unresponsive, retries spent
   14  TCP refused, unreachable, connect timeout
   20  name has no address
   21  look-up failed
   30  relay: something undelivered or dead-lettered remains
   31  messages dropped under --fail-on-drop
   32  spool, recording or dead-letter file failed
   40  bench: threshold missed
   41  bench: measurement invalid
   42  --expect not met
  124  --timeout ran out
  130  SIGINT
  143  SIGTERM";
