//! Flags of `wsp listen` that say who is admitted, and how much they may send.
//!
//! Owns their spelling and help, and turning them into settings. Leaves keeping to them to `listen/guard`.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::settings;
use super::values::{byte_rate, duration, rate};
use crate::error::Error;
use crate::listen::guard::GuardSettings;
use crate::listen::guard::admission::AdmissionSettings;
use crate::listen::guard::credentials::{Credentials, Secret};
use crate::listen::guard::jwt::Jwt;
use crate::listen::guard::rate::{OnRate, RateSettings};
use crate::message::io_text::io_text;

/// Limits and credentials.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Guards")]
pub(crate) struct GuardArgs {
    /// Maximum number of sessions; more get 503
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub max_connections: Option<usize>,
    /// Maximum number of sessions per address; more get 429
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub max_per_ip: Option<usize>,
    /// Maximum number of new sessions per second (and per burst); more get 429
    #[arg(long, value_name = "N/s", value_parser = rate, hide_short_help = true)]
    pub accept_rate: Option<f64>,
    /// Maximum number of new sessions per second (and per burst) from one address; more get 429
    #[arg(long, value_name = "N/s", value_parser = rate, hide_short_help = true)]
    pub accept_rate_per_ip: Option<f64>,
    /// Maximum number of connections in the handshake; beyond it the longest silent one is dropped
    ///
    /// New connections wait until one finishes or the oldest has been silent for a second. With --max-per-ip an address
    /// may have at most twice that many (or 16, if more); beyond it displaces its own.
    #[arg(long, value_name = "N", default_value_t = 1000, hide_short_help = true)]
    pub max_handshakes: usize,
    /// Maximum number of messages per second (and per burst) from each client
    #[arg(long, value_name = "N/s", value_parser = rate, hide_short_help = true)]
    pub message_rate: Option<f64>,
    /// Maximum payload bytes per second (and per burst) from each client
    #[arg(long, value_name = "SIZE/s", value_parser = byte_rate, hide_short_help = true)]
    pub byte_rate: Option<f64>,
    /// With TLS: require client certificates signed by one in this file (PEM or PKCS#12)
    #[arg(long, value_name = "F", hide_short_help = true)]
    pub client_ca: Option<PathBuf>,
    /// Passphrase of a PKCS#12 file given to --client-ca, from this environment variable
    #[arg(long, value_name = "V", requires = "client_ca", hide_short_help = true)]
    pub client_ca_passphrase_env: Option<String>,
    /// Accept clients with the bearer token in this environment variable; others get 401
    #[arg(long, value_name = "V", hide_short_help = true)]
    pub auth_bearer_env: Option<String>,
    /// Accept clients with the USER:PASSWORD in this environment variable; others get 401
    #[arg(long, value_name = "V", hide_short_help = true)]
    pub auth_basic_env: Option<String>,
    /// Accept clients with a JSON Web Token signed for this public key (PEM); others get 401
    ///
    /// The key determines the signature algorithm: RSA RS256 or PS256, P-256 ES256, P-384 ES384, Ed25519 EdDSA. exp and
    /// nbf are checked when a session opens, with 5 s tolerance; a token may expire during its session. With several
    /// --auth-… options one match is enough. Tokens come in the Authorization header or with --auth-message, never in
    /// the URL.
    #[arg(long, value_name = "F", conflicts_with = "auth_jwt_secret_env", hide_short_help = true)]
    pub auth_jwt_key: Option<PathBuf>,
    /// Accept clients with a JSON Web Token signed with HS256 and the secret in this environment variable; others get
    /// 401
    #[arg(long, value_name = "V", hide_short_help = true)]
    pub auth_jwt_secret_env: Option<String>,
    /// Required audience (aud) of a JSON Web Token
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub auth_jwt_audience: Option<String>,
    /// Required issuer (iss) of a JSON Web Token
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub auth_jwt_issuer: Option<String>,
    /// Expect credentials in the first message instead of a request header
    ///
    /// {"type":"auth","token":…}, or "user" and "password" with --auth-basic-env; it is answered by
    /// {"type":"auth","status":"ok"}. No messages are exchanged before that. A client that sends anything else, or
    /// nothing in time, gets {"type":"error","error":…} and close code 1008.
    #[arg(long, hide_short_help = true)]
    pub auth_message: bool,
    /// Time limit for that message
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = duration, hide_short_help = true)]
    pub auth_timeout: Duration,
    /// Beyond --message-rate or --byte-rate: close with an error and code 1008, or slow reading down
    #[arg(long, value_name = "WHAT", default_value = "close", hide_short_help = true)]
    pub on_rate: OnRateArg,
}

/// `--on-rate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnRateArg {
    /// Send the client an error and close with 1008
    Close,
    /// Reading from the client slows down
    Slow,
}

/// Returns the configured guards.
///
/// # Errors
/// Flags that do not go together, files and variables that are not there.
pub(crate) fn guards(args: &GuardArgs) -> Result<GuardSettings, Error> {
    let credentials = credentials(args)?;
    if credentials.is_none() && args.auth_message {
        return Err(Error::usage(
            "--auth-message requires an authentication option",
            "add --auth-bearer-env, --auth-basic-env, --auth-jwt-key or --auth-jwt-secret-env",
        ));
    }
    Ok(GuardSettings {
        admission: AdmissionSettings {
            max_connections: args.max_connections,
            max_per_ip: args.max_per_ip,
            accept_rate: args.accept_rate,
            accept_rate_per_ip: args.accept_rate_per_ip,
        },
        max_handshakes: args.max_handshakes,
        rates: RateSettings {
            messages: args.message_rate,
            bytes: args.byte_rate,
            on_rate: match args.on_rate {
                OnRateArg::Close => OnRate::Close,
                OnRateArg::Slow => OnRate::Slow,
            },
        },
        credentials: credentials.map(Rc::new),
        by_message: args.auth_message.then_some(args.auth_timeout),
    })
}

fn credentials(args: &GuardArgs) -> Result<Option<Credentials>, Error> {
    let basic = from_environment(args.auth_basic_env.as_deref())?;
    if let (Some(name), Some(pair)) = (&args.auth_basic_env, &basic)
        && !pair.contains(':')
    {
        return Err(Error::usage(
            format!("the environment variable {name} does not hold USER:PASSWORD"),
            "--auth-basic-env expects USER:PASSWORD",
        ));
    }
    let jwt = match (&args.auth_jwt_key, from_environment(args.auth_jwt_secret_env.as_deref())?) {
        (Some(path), _) => Some(key(path)?),
        (None, Some(secret)) => Some(Jwt::from_secret(secret.as_bytes())),
        (None, None) if args.auth_jwt_audience.is_some() || args.auth_jwt_issuer.is_some() => {
            return Err(Error::usage(
                "--auth-jwt-audience and --auth-jwt-issuer require a key",
                "add --auth-jwt-key or --auth-jwt-secret-env",
            ));
        }
        (None, None) => None,
    };
    let credentials = Credentials {
        bearer: from_environment(args.auth_bearer_env.as_deref())?.map(|token| Secret::new(token.as_bytes())),
        basic: basic.map(|pair| Secret::new(pair.as_bytes())),
        jwt: jwt.map(|jwt| jwt.meant_for(args.auth_jwt_audience.clone(), args.auth_jwt_issuer.clone())),
    };
    Ok(Some(credentials).filter(|credentials| !credentials.is_empty()))
}

/// A secret in a variable; an empty one would let everybody in.
fn from_environment(name: Option<&str>) -> Result<Option<String>, Error> {
    let secret = settings::secret(None, name)?;
    match (name, &secret) {
        (Some(name), Some(secret)) if secret.is_empty() => {
            Err(Error::usage(format!("the environment variable {name} is empty"), "export the secret in it"))
        }
        _ => Ok(secret),
    }
}

fn key(path: &Path) -> Result<Jwt, Error> {
    let wanted = "--auth-jwt-key requires a public key in PEM";
    let pem = std::fs::read(path)
        .map_err(|error| Error::usage(format!("cannot read {}: {}", path.display(), io_text(&error)), wanted))?;
    Jwt::from_pem(&pem).map_err(|error| Error::usage(format!("{}: {error}", path.display()), wanted))
}
