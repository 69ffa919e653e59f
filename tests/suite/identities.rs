//! Client certificates in the forms people have them, shown to a server that demands one.
//!
//! Owns `--cert --key --pkcs12 --passphrase-env` before nginx, and what is said when a file does not open. The files are
//! made by OpenSSL and by Java's keytool.

use crate::support::certs::{Authority, Identity};
use crate::support::proxies::{Between, nginx};
use crate::support::{Output, Run, Server, listen, require, scratch, text, wsp};

/// The passphrase of every file that has one.
const PASSPHRASE: &str = "chang€it";

/// A server behind nginx, and somebody it lets in.
struct Gate {
    authority: Authority,
    client: Identity,
    nginx: Between,
    _server: Server,
    files: tempfile::TempDir,
}

impl Gate {
    fn new() -> Self {
        let authority = Authority::new();
        let server = listen(&["--echo"]);
        let nginx = nginx(&authority.server(&["localhost"]), &authority.ca(), server.port);
        Self { client: authority.client(), nginx, _server: server, files: scratch(), authority }
    }

    fn file(&self, name: &str) -> String {
        text(&self.files.path().join(name))
    }

    /// Runs the client with these arguments and this passphrase.
    fn connect(&self, passphrase: &str, arguments: &[&str]) -> Output {
        let url = format!("wss://localhost:{}/old", self.nginx.port);
        wsp(["connect", "-L", "--cacert", &self.authority.ca()])
            .args(arguments)
            .arg(url)
            .env("PASS", passphrase)
            .input("hello\n")
    }

    #[track_caller]
    fn lets_in(&self, passphrase: &str, arguments: &[&str]) {
        self.connect(passphrase, arguments).exits(0).prints("hello\n");
    }

    /// Writes the client's certificate as PKCS#12 with these options of `openssl pkcs12`.
    fn pkcs12(&self, name: &str, options: &[&str]) -> String {
        let file = self.file(name);
        let (cert, key, ca) = (&self.client.cert, &self.client.key, self.authority.ca());
        openssl(&["pkcs12", "-export", "-in", cert, "-inkey", key, "-certfile", &ca, "-out", &file], options);
        file
    }
}

#[track_caller]
fn openssl(arguments: &[&str], more: &[&str]) {
    Run::new("openssl").args(arguments).args(more).env("PASS", PASSPHRASE).input("").exits(0);
}

/// The hint on stderr.
fn hint(output: &Output) -> &str {
    output.stderr.lines().find(|line| line.starts_with("hint:")).unwrap_or_default()
}

fn available() -> bool {
    require("nginx") && require("openssl")
}

#[test]
fn who_shows_no_certificate_is_told_how() {
    if !available() {
        return;
    }
    let gate = Gate::new();
    let output = gate.connect("", &[]).exits(5).complains("400").complains("No required SSL certificate");
    assert!(hint(&output).contains("--cert") && hint(&output).contains("--pkcs12"), "{}", output.stderr);
    gate.lets_in("", &["--cert", &gate.client.cert, "--key", &gate.client.key]);
}

#[test]
fn keys_in_every_pem_form_are_read() {
    if !available() {
        return;
    }
    let gate = Gate::new();
    let forms: [(&str, &[&str]); 5] = [
        ("sec1", &["ec"]),
        ("sec1-aes", &["ec", "-aes256", "-passout", "env:PASS"]),
        ("sec1-3des", &["ec", "-des3", "-passout", "env:PASS"]),
        ("pkcs8-aes", &["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "env:PASS"]),
        ("pkcs8-3des", &["pkcs8", "-topk8", "-v1", "PBE-SHA1-3DES", "-passout", "env:PASS"]),
    ];
    for (name, form) in forms {
        let file = gate.file(name);
        openssl(form, &["-in", &gate.client.key, "-out", &file]);
        let arguments = ["--cert", &gate.client.cert, "--key", &file];
        gate.lets_in(PASSPHRASE, &[&arguments[..], &["--passphrase-env", "PASS"]].concat());
        if form.contains(&"-passout") {
            let output = gate.connect("", &arguments).exits(8).complains(&file).complains("no passphrase");
            assert!(hint(&output).contains("--passphrase-env"), "{name}: {}", output.stderr);
            let wrong = [&arguments[..], &["--passphrase-env", "PASS"]].concat();
            let output = gate.connect("hunter2", &wrong).exits(8).complains("wrong passphrase");
            assert!(!output.stderr.contains("hunter2"), "{name}: {}", output.stderr);
        }
    }
    let old = gate.file("des");
    let des = ["ec", "-des", "-provider", "legacy", "-provider", "default", "-passout", "env:PASS"];
    openssl(&des, &["-in", &gate.client.key, "-out", &old]);
    gate.lets_in(PASSPHRASE, &["--cert", &gate.client.cert, "--key", &old, "--passphrase-env", "PASS"]);
    gate.connect("wrong", &["--cert", &gate.client.cert, "--key", &old, "--passphrase-env", "PASS"])
        .exits(8)
        .complains("wrong passphrase");
    // Certificate and key in one file.
    let both = [&gate.client.cert, &gate.client.key].map(|file| std::fs::read_to_string(file).expect("PEM")).concat();
    let both = text(&crate::support::write(&gate.files, "both.pem", both));
    gate.lets_in("", &["--cert", &both]);
}

#[test]
fn pkcs12_files_new_and_old_are_read() {
    if !available() {
        return;
    }
    let gate = Gate::new();
    let forms: [(&str, &[&str]); 5] = [
        ("modern.p12", &[]),
        ("without-mac.p12", &["-nomac"]),
        ("sha512.p12", &["-macalg", "sha512"]),
        ("3des.p12", &["-certpbe", "PBE-SHA1-3DES", "-keypbe", "PBE-SHA1-3DES", "-macalg", "sha1"]),
        // RC2 with 40 bits, as OpenSSL 1, Windows and Java 8 wrote it.
        ("rc2.p12", &["-legacy"]),
    ];
    for (name, form) in forms {
        let file = gate.pkcs12(name, &[form, &["-passout", "env:PASS"]].concat());
        gate.lets_in(PASSPHRASE, &["--pkcs12", &file, "--passphrase-env", "PASS"]);
        let output = gate.connect("", &["--pkcs12", &file]).exits(8).complains(name).complains("no passphrase");
        assert!(hint(&output).contains("--passphrase-env"), "{}", output.stderr);
        gate.connect("wrong", &["--pkcs12", &file, "--passphrase-env", "PASS"]).exits(8).complains("wrong passphrase");
    }
    let file = gate.pkcs12("empty.p12", &["-passout", "pass:"]);
    gate.lets_in("", &["--pkcs12", &file]);
    let open = ["-nomac", "-keypbe", "NONE", "-certpbe", "NONE", "-passout", "pass:"];
    let file = gate.pkcs12("open.p12", &open);
    gate.lets_in("", &["--pkcs12", &file]);
    gate.lets_in(PASSPHRASE, &["--pkcs12", &file, "--passphrase-env", "PASS"]);
}

#[test]
fn where_old_ciphers_are_missing_it_is_said_how_to_do_without() {
    if !available() {
        return;
    }
    let gate = Gate::new();
    let file = gate.pkcs12("rc2.p12", &["-legacy", "-passout", "env:PASS"]);
    let key = gate.file("des.key");
    let des = ["ec", "-des", "-provider", "legacy", "-provider", "default", "-passout", "env:PASS"];
    openssl(&des, &["-in", &gate.client.key, "-out", &key]);
    for (arguments, remedy) in [
        (&["--pkcs12", &file][..], "openssl pkcs12 -legacy -in OLD -nodes"),
        (&["--cert", &gate.client.cert, "--key", &key], "openssl pkey -provider legacy"),
    ] {
        let output = wsp([&["connect", "wss://127.0.0.1:1/", "--passphrase-env", "PASS"], arguments].concat())
            .env("PASS", PASSPHRASE)
            .env("OPENSSL_MODULES", gate.files.path().join("nothing"))
            .input("")
            .exits(8)
            .complains("legacy provider, which is missing");
        assert!(hint(&output).contains(remedy), "{}", output.stderr);
    }
}

#[test]
fn javas_key_stores_are_read() {
    if !available() || !require("keytool") {
        return;
    }
    let gate = Gate::new();
    let source = gate.pkcs12("source.p12", &["-passout", "pass:changeit"]);
    for (name, flavour) in [("new.p12", "-J-Dwsp.test"), ("java8.p12", "-J-Dkeystore.pkcs12.legacy")] {
        let file = gate.file(name);
        Run::new("keytool")
            .args([flavour, "-importkeystore", "-noprompt", "-srckeystore", &source, "-srcstoretype", "PKCS12"])
            .args(["-srcstorepass", "changeit", "-destkeystore", &file, "-deststoretype", "PKCS12"])
            .args(["-deststorepass", "changeit"])
            .input("")
            .exits(0);
        gate.lets_in("changeit", &["--pkcs12", &file, "--passphrase-env", "PASS"]);
    }
    let trust = gate.file("trust.p12");
    Run::new("keytool")
        .args(["-importcert", "-noprompt", "-alias", "ca", "-file", &gate.authority.ca(), "-keystore", &trust])
        .args(["-storetype", "PKCS12", "-storepass", "changeit"])
        .input("")
        .exits(0);
    let output = gate.connect("changeit", &["--pkcs12", &trust, "--passphrase-env", "PASS"]).exits(8);
    assert!(output.stderr.contains("no private key") && output.stderr.contains("--cacert"), "{}", output.stderr);
}

#[test]
fn files_that_do_not_fit_are_told_apart() {
    let authority = Authority::new();
    let (client, other) = (authority.client(), authority.server(&["localhost"]));
    let url = "wss://127.0.0.1:1/";
    let run = |arguments: &[&str]| crate::support::run(&[&["connect", url], arguments].concat(), "").exits(8);
    run(&["--cert", &client.cert, "--key", &other.key]).complains("does not belong to the certificate");
    run(&["--pkcs12", &client.cert]).complains("is not a PKCS#12 file");
    run(&["--cert", &client.key, "--key", &client.key]).complains("no PEM certificate");
    run(&["--cert", &client.cert]).complains("no PEM private key");
    run(&["--key", &client.key]).complains("--key needs --cert");
    let arguments = ["connect", url, "--cert", &client.cert, "--passphrase-env", "WSP_NOT_SET"];
    crate::support::run(&arguments, "").exits(2).complains("WSP_NOT_SET");
}

#[test]
fn a_server_takes_its_own_key_as_pkcs12_or_encrypted() {
    if !require("openssl") {
        return;
    }
    let authority = Authority::new();
    let identity = authority.server(&["127.0.0.1", "localhost"]);
    let folder = scratch();
    let file = |name: &str| text(&folder.path().join(name));
    let (store, key) = (file("server.p12"), file("server.key"));
    let (cert, plain) = (&identity.cert, &identity.key);
    openssl(&["pkcs12", "-export", "-in", cert, "-inkey", plain, "-out", &store, "-passout", "env:PASS"], &[]);
    openssl(&["ec", "-aes256", "-passout", "env:PASS", "-in", plain, "-out", &key], &[]);
    let jks = text(&crate::support::write(&folder, "old.jks", b"\xfe\xed\xfe\xed\0\0\0\x02"));
    let pass = ["--passphrase-env", "PASS"];
    let encrypted = ["--tls-cert", cert, "--tls-key", &key];
    let forms: [&[&str]; 2] = [&["--pkcs12", &store], &encrypted];
    for first in [&["listen", "127.0.0.1:0", "--echo"][..], &["relay", "wss-listen://127.0.0.1:0", "null:"]] {
        for form in forms {
            let server = Server::ready(wsp([first, form, &pass].concat()).env("PASS", PASSPHRASE));
            assert!(server.url.starts_with("wss://"), "{}", server.url);
            let url = format!("wss://localhost:{}/", server.port);
            wsp(["connect", "-4", "--cacert", &authority.ca(), &url, "-x", "a", "-w", "0"]).input("").exits(0);
            server.stop().exits(0);
            let output = wsp([first, form].concat()).input("").exits(8).complains("no passphrase");
            assert!(hint(&output).contains("--passphrase-env"), "{}", output.stderr);
            let output = wsp([first, form, &pass].concat()).env("PASS", "hunter2").input("").exits(8);
            assert!(
                output.stderr.contains("wrong passphrase") && !output.stderr.contains("hunter2"),
                "{}",
                output.stderr
            );
        }
        for form in [&["--pkcs12", &jks][..], &["--tls-cert", &jks, "--tls-key", &jks]] {
            let output = wsp([first, form].concat()).input("").exits(8).complains("Java key store");
            assert!(
                hint(&output).contains("keytool -importkeystore") && hint(&output).contains("--pkcs12"),
                "{}",
                output.stderr
            );
        }
    }
    let output = wsp(["connect", "wss://127.0.0.1:1/", "--cacert", &jks]).input("").exits(8);
    assert!(hint(&output).contains("keytool -list -rfc"), "{}", output.stderr);
    wsp(["listen", ":0", "--passphrase-env", "PASS"])
        .env("PASS", "x")
        .input("")
        .exits(2)
        .complains("no key to decrypt");
}
