//! What stands between a client and its server: tinyproxy, microsocks, stunnel and nginx, each with its own settings.
//!
//! Owns their configuration, which lies in a directory that goes away with them. None of them can say which free port
//! it took, so each is given one. Invariant: they run as this user, on loopback, and end with the test.

use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Instant;

use super::certs::Identity;
use super::process::{Process, Run};
use super::{DEADLINE, closed_port, peers, scratch, text, write};

/// One of them, ready.
pub struct Between {
    pub process: Process,
    pub port: u16,
    _files: tempfile::TempDir,
}

impl Between {
    /// Starts it on a free port; another one when that was taken meanwhile.
    fn started(run: impl Fn(u16, &tempfile::TempDir) -> Run) -> Self {
        let begin = Instant::now();
        loop {
            let (port, files) = (closed_port(), scratch());
            let process = run(port, &files).spawn();
            while !process.has_ended() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() && !process.has_ended() {
                    return Self { process, port, _files: files };
                }
                assert!(begin.elapsed() < DEADLINE, "nobody listens on port {port}");
                std::thread::yield_now();
            }
            assert!(begin.elapsed() < DEADLINE, "it cannot be started: {}", process.finish().stderr);
        }
    }
}

/// An HTTP proxy that wants `me` and `pa55word`, or nobody in particular.
pub fn tinyproxy(with_password: bool) -> Between {
    Between::started(|port, files| {
        let auth = if with_password { "BasicAuth me pa55word\n" } else { "" };
        let settings = format!("Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nLogLevel Info\n{auth}");
        Run::new(program("tinyproxy")).args(["-d", "-c", &text(&write(files, "tinyproxy.conf", settings))])
    })
}

/// A SOCKS5 server, perhaps with user and password.
pub fn microsocks(user: Option<(&str, &str)>) -> Between {
    Between::started(|port, _| {
        let run = Run::new(program("microsocks")).args(["-i", "127.0.0.1", "-p", &port.to_string()]);
        match user {
            None => run,
            Some((user, password)) => run.args(["-u", user, "-P", password]),
        }
    })
}

/// TLS in front of a port: what makes an https proxy of an http one.
pub fn stunnel(identity: &Identity, to: u16) -> Between {
    Between::started(|port, files| {
        let settings = format!(
            "foreground=yes\npid=\n[proxy]\naccept=127.0.0.1:{port}\nconnect=127.0.0.1:{to}\ncert={}\nkey={}\n",
            identity.cert, identity.key
        );
        Run::new(program("stunnel")).arg(write(files, "stunnel.conf", settings))
    })
}

/// A reverse proxy that ends TLS and lets in whom `ca` has signed; redirects from `/old` to `/new`.
pub fn nginx(identity: &Identity, ca: &str, to: u16) -> Between {
    Between::started(|port, files| {
        let directory = text(files.path());
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {directory}/{kind};"))
            .join(" ");
        let Identity { cert, key } = identity;
        let settings = format!(
            "daemon off; master_process off; pid {directory}/pid; error_log stderr warn;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off; {temporary}\n\
             server {{ listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.2 TLSv1.3;\n\
             ssl_certificate {cert}; ssl_certificate_key {key};\n\
             ssl_client_certificate {ca}; ssl_verify_client on;\n\
             location = /old {{ return 307 /new; }}\n\
             location / {{ proxy_pass http://127.0.0.1:{to}; proxy_http_version 1.1;\n\
             proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;\n\
             proxy_set_header X-Subject $ssl_client_s_dn; }} }} }}\n"
        );
        let file = text(&write(files, "nginx.conf", settings));
        Run::new(program("nginx")).args(["-e", "stderr", "-p", &directory, "-c", &file])
    })
}

/// A program of `PATH` or of where Debian keeps servers.
fn program(name: &str) -> PathBuf {
    let servers = PathBuf::from("/usr/sbin").join(name);
    peers::in_path(name)
        .or_else(|| servers.is_file().then_some(servers))
        .unwrap_or_else(|| panic!("{name} is not installed: run tests/run"))
}
