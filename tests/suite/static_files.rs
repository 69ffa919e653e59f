//! `wsp listen --static`: files on the same port, none of them from outside the folder, and clients that dawdle.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use crate::support::http::{Answer, ask, get, read_answer, request};
use crate::support::{Frame, RawClient, Run, Server, Socket, listen, run, scratch, text, write};

/// A folder with something in it, and a server of it.
struct Site {
    server: Server,
    outer: tempfile::TempDir,
}

const SECRET: &str = "not for you";

#[track_caller]
fn site(arguments: &[&str]) -> Site {
    let outer = scratch();
    write(&outer, "secret.txt", SECRET);
    let inner = outer.path().join("site");
    for folder in ["", "sub", "empty", ".git", ".well-known"] {
        std::fs::create_dir(inner.join(folder)).expect("a folder");
    }
    for (name, content) in [
        ("index.html", "<p>ünï"),
        ("sub/index.html", "<p>below"),
        ("data.json", "{}"),
        ("digits.txt", "0123456789"),
        ("a b.txt", "spaced"),
        (".env", SECRET),
        (".git/config", SECRET),
        (".well-known/ok.txt", "known"),
    ] {
        std::fs::write(inner.join(name), content).expect("a file");
    }
    symlink("../secret.txt", inner.join("leak.txt")).expect("a link");
    symlink(outer.path(), inner.join("leak")).expect("a link");
    symlink("digits.txt", inner.join("link.txt")).expect("a link");
    symlink("loop", inner.join("loop")).expect("a link");
    let folder = text(&inner);
    let server = listen(&[&["--echo", "--static", &folder], arguments].concat());
    Site { server, outer }
}

#[test]
fn files_have_their_types_and_folders_their_index() {
    let site = site(&[]);
    let port = site.server.port;
    for (path, kind, content) in [
        ("/", "text/html; charset=utf-8", "<p>ünï"),
        ("/index.html", "text/html; charset=utf-8", "<p>ünï"),
        ("/sub/", "text/html; charset=utf-8", "<p>below"),
        ("/data.json", "application/json", "{}"),
        ("/digits.txt?query=1", "text/plain; charset=utf-8", "0123456789"),
        ("/link.txt", "text/plain; charset=utf-8", "0123456789"),
        ("/a%20b.txt", "text/plain; charset=utf-8", "spaced"),
        ("/.well-known/ok.txt", "text/plain; charset=utf-8", "known"),
    ] {
        let answer = get(port, path).is(200);
        assert_eq!((answer.header("content-type"), answer.text()), (Some(kind), content), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let head = ask(port, "HEAD", path, "", b"").is(200);
        assert_eq!(head.header("content-length"), Some(&*content.len().to_string()), "{path}");
    }
    let answer = get(port, "/sub").is(307);
    assert_eq!(answer.header("location"), Some("/sub/"));
    get(port, "/empty/").is(404);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        assert_eq!(ask(port, method, "/", "", b"").is(405).header("allow"), Some("GET, HEAD"), "{method}");
    }
}

#[test]
fn ranges_and_conditions_are_understood() {
    let site = site(&[]);
    let port = site.server.port;
    let whole = get(port, "/digits.txt").is(200);
    for (range, status, content) in [
        ("bytes=2-4", 206, "234"),
        ("bytes=7-", 206, "789"),
        ("bytes=-2", 206, "89"),
        ("bytes=20-", 416, ""),
        ("bytes=0-1,4-5", 200, "0123456789"),
    ] {
        let answer = ask(port, "GET", "/digits.txt", &format!("Range: {range}\r\n"), b"").is(status);
        assert_eq!(answer.text(), content, "{range}");
    }
    let condition =
        |name: &str, value: &str| ask(port, "GET", "/digits.txt", &format!("{name}: {value}\r\n"), b"").status;
    let (etag, modified) = (whole.header("etag").expect("a tag"), whole.header("last-modified").expect("a date"));
    assert_eq!(condition("If-None-Match", etag), 304);
    assert_eq!(condition("If-None-Match", "\"other\""), 200);
    assert_eq!(condition("If-Modified-Since", modified), 304);
    assert_eq!(condition("If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT"), 200);
}

#[test]
fn there_is_no_way_out_of_the_folder() {
    let site = site(&[]);
    let port = site.server.port;
    let absolute = text(&site.outer.path().join("secret.txt"));
    let escapes = [
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/%2E%2E/secret.txt",
        "/.%2e/secret.txt",
        "/%2e./secret.txt",
        "/..%2fsecret.txt",
        "/..%2Fsecret.txt",
        "/%2e%2e%2fsecret.txt",
        "/..%5csecret.txt",
        "/..\\secret.txt",
        "/%252e%252e/secret.txt",
        "/%252e%252e%252fsecret.txt",
        "/..%00/secret.txt",
        "/%00",
        "/digits.txt%00.html",
        "/%c0%ae%c0%ae/secret.txt",
        "/%uff0e%uff0e/secret.txt",
        "/..;/secret.txt",
        "/./../secret.txt",
        "//../secret.txt",
        "/sub/..",
        "/..",
        "/leak.txt",
        "/leak/secret.txt",
        "/leak/site/digits.txt/../../secret.txt",
        "/loop",
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/sub/../.env",
        "/digits.txt/",
        "/digits.txt/x",
        "/nothing",
        "/%ff",
        "/%",
        &absolute,
        &format!("/{absolute}"),
        &absolute.replace('/', "%2f"),
        "/etc/passwd",
        "//etc/passwd",
        "/file:///etc/passwd",
    ];
    let longest = format!("/{}", "x".repeat(5000));
    for path in escapes.into_iter().chain([&*longest]) {
        for method in ["GET", "HEAD"] {
            let mut socket = RawClient::dial(port);
            socket.write(format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
            let answer = read_answer(&mut socket, method == "GET");
            assert!(matches!(answer.status, 404 | 400), "{path}: {}", answer.head);
            assert!(!String::from_utf8_lossy(&answer.body).contains(SECRET), "{path}");
        }
    }
    let target = format!("GET http://x{absolute} HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(RawClient::ask(port, &target).starts_with("HTTP/1.1 404 "));
    // A pipe would be waited for.
    let pipe = site.outer.path().join("site/pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    get(port, "/pipe").is(404);
}

#[test]
fn pages_and_websockets_share_a_port_and_a_connection() {
    let site = site(&["--json"]);
    let port = site.server.port;
    let mut socket = RawClient::dial(port);
    for _ in 0..3 {
        socket.write(request("GET", "/digits.txt", "", b""));
        assert_eq!(read_answer(&mut socket, true).is(200).text(), "0123456789");
    }
    // Sent together with the last request.
    socket.write([request("GET", "/data.json", "", b""), RawClient::request("/", "").into_bytes()].concat());
    assert_eq!(read_answer(&mut socket, true).is(200).text(), "{}");
    assert!(socket.read_head().starts_with("HTTP/1.1 101 "));
    socket.say(Frame::text("hello"));
    assert_eq!(socket.read_text(), "hello");
    let output = Run::new("curl").args(["-sf", &format!("http://127.0.0.1:{port}/a%20b.txt")]).input("").exits(0);
    output.prints("spaced");
    let output = site.server.stop().exits(0);
    assert!(output.stderr.contains("connections 1, refused 0, received 1"), "{}", output.stderr);
}

#[test]
fn a_path_of_its_own_keeps_websockets_apart() {
    let site = site(&["--path", "/digits.txt"]);
    let port = site.server.port;
    get(port, "/digits.txt").is(426);
    get(port, "/data.json").is(200);
    RawClient::open(port, "/digits.txt", "");
    let mut elsewhere = RawClient::dial(port);
    elsewhere.write(RawClient::request("/data.json", ""));
    assert_eq!(read_answer(&mut elsewhere, true).status, 404);
}

#[test]
fn a_folder_that_is_none_is_named() {
    let files = scratch();
    let file = text(&write(&files, "file", "x"));
    for path in [&*file, "/no/such/folder"] {
        run(&["listen", ":0", "--static", path], "").exits(2).complains(&format!("--static {path}"));
    }
}

/// Asks for a file that no buffer on the way holds, with next to no buffer on this side.
fn downloading(site: &Site, head: &str) -> Socket {
    let path = site.outer.path().join("site/large.bin");
    if !path.exists() {
        std::fs::write(path, vec![7; 64 << 20]).expect("a large file");
    }
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], site.server.port));
    socket.connect(&address.into()).expect("connecting");
    let mut socket = Socket::new(socket.into(), true);
    socket.write(format!("GET /large.bin HTTP/1.1\r\nHost: x\r\n{head}\r\n"));
    socket
}

#[test]
fn a_download_may_take_longer_than_the_handshake_but_must_move() {
    let site = site(&["--handshake-timeout", "500ms"]);
    let mut slow = downloading(&site, "Connection: close\r\n");
    let stopped = downloading(&site, "");
    let mut other = RawClient::connect(site.server.port);
    let head = slow.read_head();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let started = Instant::now();
    let mut total = 0;
    loop {
        let piece = slow.read_exactly(1 << 20).len();
        total += piece;
        if piece < 1 << 20 {
            break;
        }
        // A reader of some 40 MB a second: that is what makes it longer than the limit. Nobody else is concerned.
        while started.elapsed() < Duration::from_millis(25) * u32::try_from(total >> 20).expect("a small number") {
            other.say(Frame::text("still here"));
            assert_eq!(other.read_text(), "still here");
        }
    }
    assert_eq!(total, 64 << 20);
    assert!(started.elapsed() > Duration::from_secs(1), "longer than the limit");
    let mut stopped = stopped;
    let rest = stopped.read_rest().len();
    assert!(rest < 32 << 20, "cut off after {rest}");
}

#[test]
fn many_who_leave_in_the_midst_cost_nothing() {
    let site = site(&[]);
    for _ in 0..100 {
        let mut socket = downloading(&site, "");
        socket.read_head();
    }
    let answer: Answer = get(site.server.port, "/digits.txt").is(200);
    assert_eq!(answer.text(), "0123456789");
    site.server.stop().exits(0);
}
