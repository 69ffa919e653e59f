# The formula; packaging/source writes it out with the address and checksum of the sources.
class WscatPlus < Formula
  desc "WebSocket client, server, relay and load tester"
  url "@URL@"
  version "@VERSION@"
  sha256 "@SHA256@"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on "rust" => :build

  on_linux do
    depends_on "pkgconf" => :build
    depends_on "openssl@3"
    depends_on "zlib"
  end

  def install
    system "cargo", "install", *std_cargo_args
    man1.install Dir["man/*.1"]
    bash_completion.install "completions/wsp.bash" => "wsp"
    zsh_completion.install "completions/_wsp"
    fish_completion.install "completions/wsp.fish"
  end

  test do
    assert_equal "wsp #{version}", shell_output("#{bin}/wsp --version").chomp
    port = free_port
    server = spawn bin/"wsp", "listen", "127.0.0.1:#{port}", "--echo"
    begin
      reply = shell_output("#{bin}/wsp 127.0.0.1:#{port} -x hello -n 1 --reconnect=20 --retry-delay 100ms")
      assert_equal "hello", reply.chomp
    ensure
      Process.kill "TERM", server
      Process.wait server
    end
  end
end
