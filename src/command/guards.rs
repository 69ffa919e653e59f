//! Flags of `wsp listen` that say who is let in, and how much they may send.
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
    /// Most sessions at a time; others get 503
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub max_connections: Option<usize>,
    /// Most sessions at a time of one address; others get 429
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub max_per_ip: Option<usize>,
    /// Most sessions begun a second, as many at once; others get 429
    #[arg(long, value_name = "N/s", value_parser = rate, hide_short_help = true)]
    pub accept_rate: Option<f64>,
    /// Most sessions begun a second by one address, as many at once; others get 429
    #[arg(long, value_name = "N/s", value_parser = rate, hide_short_help = true)]
    pub accept_rate_per_ip: Option<f64>,
    /// Most connections that are not sessions yet; beyond it the one silent longest is dropped
    ///
    /// New ones wait until one is done or the oldest has been silent for a second. With --max-per-ip an address has
    /// twice as many at the most (16 where that is more); beyond it it displaces its own.
    #[arg(long, value_name = "N", default_value_t = 1000, hide_short_help = true)]
    pub max_handshakes: usize,
    /// Most messages a second of each client, as many at once
    #[arg(long, value_name = "N/s", value_parser = rate, hide_short_help = true)]
    pub message_rate: Option<f64>,
    /// Most payload bytes a second of each client, as many at once
    #[arg(long, value_name = "SIZE/s", value_parser = byte_rate, hide_short_help = true)]
    pub byte_rate: Option<f64>,
    /// With TLS: clients must show a certificate signed by one in this file (PEM or PKCS#12)
    #[arg(long, value_name = "F", hide_short_help = true)]
    pub client_ca: Option<PathBuf>,
    /// Passphrase of a PKCS#12 file given to --client-ca, from this environment variable
    #[arg(long, value_name = "V", requires = "client_ca", hide_short_help = true)]
    pub client_ca_passphrase_env: Option<String>,
    /// Let in who shows the bearer token in this environment variable; others get 401
    #[arg(long, value_name = "V", hide_short_help = true)]
    pub auth_bearer_env: Option<String>,
    /// Let in who shows the USER:PASSWORD in this environment variable; others get 401
    #[arg(long, value_name = "V", hide_short_help = true)]
    pub auth_basic_env: Option<String>,
    /// Let in who shows a JSON Web Token signed for this public key, PEM; others get 401
    ///
    /// The key decides how tokens must be signed: RSA RS256 or PS256, P-256 ES256, P-384 ES384, Ed25519 EdDSA. exp and
    /// nbf are held against the clock, 5 s either way, when a session begins; a token may expire while its session lasts.
    /// Of several --auth-… one is enough. Tokens come in the Authorization header or with --auth-message, never in the URL.
    #[arg(long, value_name = "F", conflicts_with = "auth_jwt_secret_env", hide_short_help = true)]
    pub auth_jwt_key: Option<PathBuf>,
    /// The same, signed by HS256 with the secret in this environment variable
    #[arg(long, value_name = "V", hide_short_help = true)]
    pub auth_jwt_secret_env: Option<String>,
    /// What aud of a JSON Web Token must name
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub auth_jwt_audience: Option<String>,
    /// What iss of a JSON Web Token must be
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub auth_jwt_issuer: Option<String>,
    /// Ask for credentials in the first message in place of the request's header
    ///
    /// {"type":"auth","token":…}, or "user" and "password" with --auth-basic-env; it is answered by
    /// {"type":"auth","status":"ok"}. Nothing is delivered to or from a client before. Who says something else or nothing
    /// in time gets {"type":"error","error":…} and Close 1008.
    #[arg(long, hide_short_help = true)]
    pub auth_message: bool,
    /// Longest time for that message
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = duration, hide_short_help = true)]
    pub auth_timeout: Duration,
    /// What happens beyond --message-rate and --byte-rate: an error and Close 1008, or reading slows down
    #[arg(long, value_name = "WHAT", default_value = "close", hide_short_help = true)]
    pub on_rate: OnRateArg,
}

/// `--on-rate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnRateArg {
    /// Send the client an error and close with 1008
    Close,
    /// The client is read no faster
    Slow,
}

/// The guards as meant.
///
/// # Errors
/// Flags that do not go together, files and variables that are not there.
pub(crate) fn guards(args: &GuardArgs) -> Result<GuardSettings, Error> {
    let credentials = credentials(args)?;
    if credentials.is_none() && args.auth_message {
        return Err(Error::usage(
            "--auth-message does not say what to ask for",
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
            "--auth-basic-env wants both, with a colon between them",
        ));
    }
    let jwt = match (&args.auth_jwt_key, from_environment(args.auth_jwt_secret_env.as_deref())?) {
        (Some(path), _) => Some(key(path)?),
        (None, Some(secret)) => Some(Jwt::from_secret(secret.as_bytes())),
        (None, None) if args.auth_jwt_audience.is_some() || args.auth_jwt_issuer.is_some() => {
            return Err(Error::usage(
                "--auth-jwt-audience and --auth-jwt-issuer say nothing without a key",
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
    let wanted = "--auth-jwt-key wants a public key in PEM";
    let pem = std::fs::read(path)
        .map_err(|error| Error::usage(format!("cannot read {}: {}", path.display(), io_text(&error)), wanted))?;
    Jwt::from_pem(&pem).map_err(|error| Error::usage(format!("{}: {error}", path.display()), wanted))
}
