//! Client handshakes where the TLS library is OpenSSL, through the openssl crate itself.
//!
//! native-tls, which serves elsewhere and on the listening side, shows only the server's own
//! certificate; `-v` promises the chain, the version and the cipher. Trust, defaults and the ciphers
//! are those native-tls sets up.

use std::fmt;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::Uri;
use hyper_openssl::client::legacy::{HttpsLayer, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{self, SslConnector, SslConnectorBuilder, SslMethod, SslRef, SslVerifyMode, SslVersion};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509NameRef, X509Ref, X509VerifyResult};
use tokio_openssl::SslStream;
use tokio_util::either::Either;
use tower_layer::Layer as _;
use tower_service::Service;

use super::identity::{self, PemIdentity, ShownBy, authorities};
use super::{ClientTls, TlsError, TlsErrorKind, TlsVersion, shorten};
use crate::message::counted::counted;
use crate::message::io_text::io_text;
use crate::net::transport::{Secure, Transport};

/// A client's side of TLS over any other byte stream.
pub(crate) type ClientStream = Either<SslStream<Transport>, ResumingStream>;

/// The same where an earlier session may have been taken up.
type ResumingStream = TokioIo<MaybeHttpsStream<TokioIo<Transport>>>;

/// Returns the name and version of the TLS library that is loaded.
pub(crate) fn library() -> String {
    openssl::version::version().to_owned()
}

/// Does client handshakes, as many as asked.
#[derive(Clone)]
pub(crate) struct ClientConnector {
    way: Way,
    insecure: bool,
    sni: Option<String>,
}

#[derive(Clone)]
enum Way {
    /// With nothing known of the server.
    Anew(SslConnector),
    /// With a session that an earlier connection was given. hyper-openssl keeps them: to offer one takes `unsafe`, of
    /// which we have none of our own.
    Resuming(Arc<HttpsLayer>),
}

impl fmt::Debug for ClientConnector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { way: _, insecure, sni } = self;
        out.debug_struct("ClientConnector").field("insecure", insecure).field("sni", sni).finish_non_exhaustive()
    }
}

fn fault(errors: &ErrorStack) -> TlsError {
    TlsError::other(shorten(&errors.to_string()))
}

pub(super) fn build(tls: &ClientTls) -> Result<ClientConnector, TlsError> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(|errors| fault(&errors))?;
    let min = match tls.min {
        TlsVersion::V1_2 => SslVersion::TLS1_2,
        TlsVersion::V1_3 => SslVersion::TLS1_3,
    };
    builder.set_min_proto_version(Some(min)).map_err(|errors| fault(&errors))?;
    trust(&mut builder, tls)?;
    let identity = match (&tls.pkcs12, &tls.cert, &tls.key) {
        (Some(path), ..) => Some(identity::from_pkcs12_file(path, tls.passphrase.as_deref(), ShownBy::Client)?),
        (None, None, None) => None,
        (None, None, Some(_)) => return Err(TlsError::other("--key needs --cert")),
        (None, Some(cert), key) => {
            Some(identity::from_pem_files(cert, key.as_ref().unwrap_or(cert), tls.passphrase.as_deref())?)
        }
    };
    if let Some(identity) = identity {
        show(&mut builder, &identity)?;
    }
    let insecure = tls.insecure;
    let way = if tls.resume {
        let mut layer = HttpsLayer::with_connector(builder).map_err(|errors| fault(&errors))?;
        layer.set_callback(move |settings, _| {
            settings.set_verify_hostname(!insecure);
            if insecure {
                settings.set_verify(SslVerifyMode::NONE);
            }
            Ok(())
        });
        Way::Resuming(Arc::new(layer))
    } else {
        Way::Anew(builder.build())
    };
    Ok(ClientConnector { way, insecure, sni: tls.sni.clone() })
}

/// Sets whom to trust: the CA file and nobody else, or the system's certificates wherever they lie.
fn trust(builder: &mut SslConnectorBuilder, tls: &ClientTls) -> Result<(), TlsError> {
    let Some(path) = &tls.ca_file else {
        // OpenSSL built from source does not know where this system keeps them.
        let places = openssl_probe::probe();
        if let Some(file) = places.cert_file {
            let _ = builder.load_verify_locations(Some(&file), None);
        }
        for directory in places.cert_dir {
            let _ = builder.load_verify_locations(None, Some(&directory));
        }
        return Ok(());
    };
    let of_file = |errors: ErrorStack| TlsError::of_file(path, "CA file", &shorten(&errors.to_string()));
    let mut store = X509StoreBuilder::new().map_err(of_file)?;
    for certificate in authorities(path, "CA file", tls.ca_passphrase.as_deref())? {
        store.add_cert(certificate).map_err(of_file)?;
    }
    builder.set_cert_store(store.build());
    Ok(())
}

/// Makes the connector show this certificate to a server that asks for one.
fn show(builder: &mut SslConnectorBuilder, identity: &PemIdentity) -> Result<(), TlsError> {
    let unusable = |errors: ErrorStack| TlsError::other(format!("certificate: {}", shorten(&errors.to_string())));
    let mut chain = X509::stack_from_pem(&identity.chain).map_err(unusable)?.into_iter();
    let own = chain.next().ok_or_else(|| TlsError::other("certificate: contains no PEM certificate"))?;
    let key = PKey::private_key_from_pem(&identity.key).map_err(unusable)?;
    if !own.public_key().is_ok_and(|public| public.public_eq(&key)) {
        return Err(TlsError::other("the key does not belong to the certificate"));
    }
    builder.set_certificate(&own).map_err(unusable)?;
    builder.set_private_key(&key).map_err(unusable)?;
    for certificate in chain {
        builder.add_extra_chain_cert(certificate).map_err(unusable)?;
    }
    Ok(())
}

impl ClientConnector {
    /// Makes the byte stream to `host` a secure one.
    ///
    /// # Errors
    /// [`TlsError`], with the kind of failure for the hint.
    pub(crate) async fn handshake(&self, host: &str, transport: Transport) -> Result<Transport, TlsError> {
        let name = self.sni.as_deref().unwrap_or(host);
        let stream = match &self.way {
            Way::Anew(connector) => Either::Left(self.begin(connector, name, transport).await?),
            Way::Resuming(layer) => Either::Right(resume(layer, name, transport).await?),
        };
        Ok(Transport::ClientTls(Secure::new(Box::new(stream))))
    }

    async fn begin(
        &self,
        connector: &SslConnector,
        name: &str,
        transport: Transport,
    ) -> Result<SslStream<Transport>, TlsError> {
        let mut settings = connector.configure().map_err(|errors| fault(&errors))?;
        settings.set_verify_hostname(!self.insecure);
        let refused = Arc::new(Mutex::new(Vec::new()));
        if self.insecure {
            settings.set_verify(SslVerifyMode::NONE);
        } else {
            // Once the handshake has failed, OpenSSL no longer knows what was presented.
            let refused = Arc::clone(&refused);
            settings.set_verify_callback(SslVerifyMode::PEER, move |accepted, context| {
                if !accepted && let Ok(mut refused) = refused.lock() {
                    *refused = chain(context.chain().into_iter().flatten());
                }
                accepted
            });
        }
        let ssl = settings.into_ssl(name).map_err(|errors| fault(&errors))?;
        let mut stream = SslStream::new(ssl, transport).map_err(|errors| fault(&errors))?;
        let Err(error) = Pin::new(&mut stream).connect().await else { return Ok(stream) };
        let presented = refused.lock().map(|mut lines| std::mem::take(&mut *lines)).unwrap_or_default();
        let verified = stream.ssl().verify_result();
        let reason = (verified != X509VerifyResult::OK).then(|| verified.error_string());
        Err(TlsError { presented, ..explain(&error, reason) })
    }
}

/// A handshake that offers the session of an earlier one, if there was one.
async fn resume(layer: &HttpsLayer, name: &str, transport: Transport) -> Result<ResumingStream, TlsError> {
    let uri = Uri::builder().scheme("https").authority(name).path_and_query("/").build();
    // An address of IPv6 would come back from it in brackets.
    let uri = uri.ok().filter(|uri| uri.host() == Some(name)).ok_or_else(|| {
        TlsError::other(format!("TLS sessions require a host name or IPv4 address; {name} is neither"))
    })?;
    match layer.layer(Reached(Some(transport))).call(uri).await {
        Ok(stream) => Ok(TokioIo::new(stream)),
        Err(error) => {
            let text = error.to_string();
            let Some(error) = error.source().and_then(|source| source.downcast_ref::<ssl::Error>()) else {
                return Err(TlsError::of_text(&text));
            };
            let reason = text.strip_prefix(&error.to_string()).and_then(|rest| rest.strip_prefix(": "));
            Err(explain(error, reason))
        }
    }
}

/// A byte stream for hyper-openssl, which would rather open its own.
struct Reached(Option<Transport>);

impl Service<Uri> for Reached {
    type Response = TokioIo<Transport>;
    type Error = io::Error;
    type Future = Ready<io::Result<TokioIo<Transport>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().map(TokioIo::new).ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}

impl Connection for Transport {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

fn explain(error: &ssl::Error, reason: Option<&str>) -> TlsError {
    if let Some(error) = error.io_error() {
        return TlsError::other(io_text(error));
    }
    if error.ssl_error().is_none() {
        let text = "the server closed the connection during the handshake";
        return TlsError { kind: TlsErrorKind::HungUp, ..TlsError::other(text) };
    }
    match reason {
        None => TlsError::of_text(&error.to_string()),
        Some(reason) => TlsError::of_text(&format!("{error} ({reason})")),
    }
}

/// The session itself, which every handshake has left behind.
fn session(stream: &ClientStream) -> Option<&SslRef> {
    match stream {
        Either::Left(stream) => Some(stream.ssl()),
        Either::Right(stream) => match stream.inner() {
            MaybeHttpsStream::Https(stream) => Some(stream.ssl()),
            MaybeHttpsStream::Http(_) => None,
        },
    }
}

/// Version, cipher, whether the server is trusted, and its certificates from its own upwards.
pub(crate) fn describe(stream: &ClientStream) -> Vec<String> {
    let Some(ssl) = session(stream) else { return Vec::new() };
    let cipher = ssl.current_cipher().map_or("no cipher", |cipher| cipher.name());
    let mut lines = vec![format!("TLS: {}, {cipher}", ssl.version_str())];
    let verified = ssl.verify_result();
    if verified != X509VerifyResult::OK {
        lines.push(format!("the certificate is accepted by -k although: {}", verified.error_string()));
    }
    lines.extend(chain(ssl.peer_cert_chain().into_iter().flatten()));
    lines
}

/// Whether the server took up an earlier session.
pub(crate) fn is_resumed(stream: &ClientStream) -> bool {
    session(stream).is_some_and(SslRef::session_reused)
}

/// Certificates from the server's own upwards.
fn chain<'c>(certificates: impl Iterator<Item = &'c X509Ref>) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, certificate) in certificates.enumerate() {
        let which = if index == 0 { "certificate".to_owned() } else { format!("certificate {}", index + 1) };
        lines.push(format!("{which}: {}", names(certificate.subject_name())));
        if let Some(valid) = valid_for(certificate).filter(|_| index == 0) {
            lines.push(format!("valid for: {valid}"));
        }
        lines.push(format!("issued by: {}", names(certificate.issuer_name())));
        if is_early(certificate) {
            lines.push(format!("valid from: {}", certificate.not_before()));
        }
        lines.push(format!("valid until: {} ({})", certificate.not_after(), left(certificate)));
    }
    lines
}

/// Whether its time has not come.
fn is_early(certificate: &X509Ref) -> bool {
    Asn1Time::days_from_now(0).is_ok_and(|now| now < *certificate.not_before())
}

pub(super) fn names(name: &X509NameRef) -> String {
    let entries = name.entries().map(|entry| {
        let key = entry.object().nid().short_name().unwrap_or("?");
        let value = entry.data().to_string().unwrap_or_default();
        format!("{key}={value}")
    });
    entries.collect::<Vec<_>>().join(", ")
}

/// The names and addresses it is for.
fn valid_for(certificate: &X509Ref) -> Option<String> {
    let address = |bytes: &[u8]| match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|bytes| std::net::IpAddr::from(bytes).to_string()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|bytes| std::net::IpAddr::from(bytes).to_string()),
        _ => None,
    };
    let names: Vec<String> = certificate
        .subject_alt_names()?
        .iter()
        .filter_map(|name| name.dnsname().map(str::to_owned).or_else(|| name.ipaddress().and_then(address)))
        .collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// How long it is still good, in days.
fn left(certificate: &X509Ref) -> String {
    let now = Asn1Time::days_from_now(0);
    match now.and_then(|now| now.diff(certificate.not_after())) {
        Ok(left) if left.days < 0 || left.secs < 0 => "it has expired".to_owned(),
        Ok(left) => format!("{} left", counted(left.days, "day")),
        Err(_) => "no date".to_owned(),
    }
}
