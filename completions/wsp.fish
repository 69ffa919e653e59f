# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_wsp_global_optspecs
    string join \n h/help V/version
end

function __fish_wsp_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_wsp_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_wsp_using_subcommand
    set -l cmd (__fish_wsp_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c wsp -n "__fish_wsp_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wsp -n "__fish_wsp_needs_command" -s V -l version -d 'Print version'
complete -c wsp -n "__fish_wsp_needs_command" -f -a "connect" -d 'Connect to a WebSocket server; `wsp URL` is short for it'
complete -c wsp -n "__fish_wsp_needs_command" -f -a "listen" -d 'Run a WebSocket test server'
complete -c wsp -n "__fish_wsp_needs_command" -f -a "relay" -d 'Move messages between endpoints, with queues and acknowledgements'
complete -c wsp -n "__fish_wsp_needs_command" -f -a "top" -d 'Show running wsp processes on a dashboard, through their admin addresses'
complete -c wsp -n "__fish_wsp_needs_command" -f -a "demo" -d 'A feed on loopback with the dashboard on it: a first look that needs nothing'
complete -c wsp -n "__fish_wsp_needs_command" -f -a "config" -d 'Show where a setting came from, and what can be set'
complete -c wsp -n "__fish_wsp_needs_command" -f -a "generate" -d 'Print shell completions, write man pages or files for monitoring'
complete -c wsp -n "__fish_wsp_needs_command" -f -a "bench" -d 'Load-test a WebSocket server'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l curl -d 'Connect as this "Copy as cURL" line of a browser does; @FILE reads it' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s x -l execute -d 'Send this, read no stdin, then finish as at end of input' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s w -l wait -d 'Receive on until quiet for DUR; -1: until closed [default: 1s]' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s n -l count -d 'Finish after N received messages, with --jq N that pass it' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l expect -d 'Finish when a message matches, else exit 42' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l within -d 'Longest time for --expect' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l input -d 'How stdin is written: raw payload, or json event lines' -r -f -a "raw\t'Payload, cut into messages'
json\t'Event lines; only type and payload are needed'"
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l delimiter -d 'Messages in stdin end with C' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s j -l jq -d 'Print what this filter yields; $meta and $prev are set' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l fold -d 'Keep state across messages: JQ yields [STATE, OUTPUT...] and knows $state and $prev' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l state-key -d 'Keep a state for each value of JQ' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l state -d 'The state before the first message [default: null]' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l state-keys -d 'Most states kept; the one unused for longest goes' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l schema -d 'Check what arrives against a JSON Schema or an Avro schema, and say what does not match' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l non-json -d 'What becomes of messages the filter cannot read' -r -f -a "drop\t'It is left out, and counted'
pass\t'It is printed as it is'
error\t'The run ends with an error'"
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l reply-jq -d 'Answer what arrives with what the filter yields, and read no stdin' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l fragment -d 'Send messages in frames of at most N payload bytes, not in one each' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l record -d 'Record everything that happens, in all sessions, to FILE' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l replay -d 'Send the messages of a recording instead of reading stdin' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l speed -d 'Divide the times between messages by N; max sends them as fast as they are taken' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l dir -d 'Send what was sent (out), or what was received (in)' -r -f -a "out\t'What was sent'
in\t'What was received'"
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l session -d 'Send the messages of this session alone, such as s2; with several URLs each gets them' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s H -l header -d 'Add a header, or the lines of @FILE; \'K:\' leaves a default one out' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s u -l user -d 'Basic authentication, USER:PASSWORD or @FILE' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l user-env -d 'Take USER:PASSWORD from this environment variable, or from two: USER_VAR,PASSWORD_VAR' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l bearer -d 'Bearer token, or @FILE, which is read at every attempt to connect' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l bearer-command -d 'Run this at every attempt to connect, and send what it prints as bearer token' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l bearer-env -d 'Take the bearer token from this environment variable' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l cookie -d 'Send a cookie, NAME=VALUE' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s o -l origin -d 'Origin header' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s s -l subprotocol -d 'Offer a subprotocol; the first is preferred' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l host -d 'Host header, where it differs from the URL\'s host' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s i -l init -d 'Send this after every open, in order; @FILE sends a file' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l init-wait -d 'Wait for a message that matches before the next init message' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l resume -d 'After a reconnect, send MSG with {{value}} replaced by the last value JQ yielded' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l cacert -d 'Trust the certificates in this file (PEM or PKCS#12), and no others' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l cacert-passphrase-env -d 'Passphrase of a PKCS#12 file given to --cacert, from this environment variable' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l cert -d 'Client certificate, PEM' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l key -d 'Key of the client certificate, PEM' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l passphrase-env -d 'Passphrase of the key or PKCS#12 file, from this environment variable' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l pkcs12 -d 'Client certificate and key as PKCS#12' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l tls-min -d 'Lowest TLS version' -r -f -a "1.2\t'TLS 1.2'
1.3\t'TLS 1.3'"
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l sni -d 'Name to ask for and to check, where it differs from the URL\'s host' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l max-redirects -d 'Most redirects to follow' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l proxy -d 'Go through this proxy: http, https, socks5 or socks5h://HOST:PORT, U:P@ before the host; \'\' for none' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l resolve -d 'Use ADDR for HOST:PORT instead of a look-up' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l unix-socket -d 'Connect to this unix socket instead of the URL\'s host' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l interface -d 'Local address to connect from' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l compress -d 'Offer permessage-deflate, with these parameters when given' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l max-message-size -d 'Largest message accepted; a larger one ends with Close 1009' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l jq-timeout -d 'Longest time a jq filter may take for one message, 0 for no limit; only messages behind it wait meanwhile' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l jq-memory -d 'Most memory a jq filter may take for one message' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l connect-timeout -d 'Longest time for look-up, TCP, TLS and upgrade together' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l timeout -d 'Longest time for the whole run (exit 124)' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l idle-timeout -d 'End when no message passed for this long (exit 9)' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l close-timeout -d 'Longest wait for the peer\'s Close' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l ping-interval -d 'Time between pings, 0 for none' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l ping-timeout -d 'Give the peer up when it answers no ping for this long (exit 9)' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l heartbeat -d 'Send this message at intervals' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l heartbeat-interval -d 'Time between heartbeats' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l heartbeat-reply -d 'Answer messages that match with MSG; {{value}} in it is what JQ yielded' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l reconnect -d 'Reconnect when the connection fails, at most N times in a row' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l retry-delay -d 'Maximum delay before the first reconnect' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l retry-max -d 'Maximum delay before any reconnect, also when Retry-After asks for more' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l retry-factor -d 'Multiply the delay by this after each failure; 1 is a fixed delay' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l retry-step -d 'Add this to the delay after each failure, instead of multiplying it' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l retry-jitter -d 'full: each delay is random, up to its maximum; none: it is the maximum [default: full; none when delays are fixed]' -r -f -a "full\t'Random delays up to the maximum'
none\t'The maximum'"
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l retry-on -d 'HTTP statuses and close codes to reconnect after: 429, 5xx, 1001-1015, all, none, default' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l stable-after -d 'Count a session as a success once it has lived this long: delays and N begin anew' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l arg -d 'Set $NAME to the text VALUE in every filter' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l argjson -d 'Set $NAME to the JSON value in every filter' -r
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l format -d 'raw, json, pretty or hex [default: raw; pretty on a terminal]' -r -f -a "raw\t'As it came, text with one newline'
json\t'Event lines'
pretty\t'Indented where it is JSON'
hex\t'Bytes in hexadecimal'"
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l color -d 'Colours on stdout' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s b -l binary -d 'Send input as binary messages'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l hex -d 'Input is hexadecimal, sent as binary'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l base64 -d 'Input is base64, sent as binary'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s 0 -l null -d 'Messages in stdin end with NUL'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l whole -d 'All of stdin is one message'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l assert-format -d 'Check what format says in --schema (email, date-time, uri and so on), whatever the draft'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l fail-on-invalid -d 'End with exit 42 at the first message that does not match --schema'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s r -l raw-output -d 'Strings the filter yields are printed without quotes'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s t -l timestamps -d 'Time before each message'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s P -l show-ping-pong -d 'Show pings and pongs on stderr'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l echo -d 'Send back what arrives, and read no stdin'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l replay-close -d 'Send the recorded Close after the last message, instead of ending as at end of input'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l tui -d 'Show sessions, queues and messages on a dashboard; ? there shows the keys'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s k -l insecure -d 'Accept any certificate'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s L -l location -d 'Follow redirects'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s 4 -l ipv4 -d 'Use IPv4 only'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s 6 -l ipv6 -d 'Use IPv6 only'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l no-compress -d 'Do not offer permessage-deflate'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l template -d 'Fill in {{seq}} {{uuid}} {{now}} {{now_ms}} {{env.X}} {{rand(1,100)}} in what is sent'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s R -l raw-input -d 'Give filters the text of a message that is not JSON, as a string'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -l json -d 'Event lines on stdout (same as --format json)'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s v -l verbose -d 'Handshake, TLS and timings on stderr'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s q -l quiet -d 'Errors only on stderr'
complete -c wsp -n "__fish_wsp_using_subcommand connect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l forward-jq -d 'With --broadcast: send what the filter yields in place of the message' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l reply -d 'Answer each message with this; @FILE answers with a file' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l reply-jq -d 'Answer each message with what the filter yields' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l exec -d 'Run \'sh -c CMD\' for each session, a line for each message' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l exec-max -d 'Most programs at a time; others get 503' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l exec-grace -d 'Time between SIGTERM and SIGKILL' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l push -d 'Send messages to all clients, RATE a second to each' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l payload -d 'With --push: send this; @FILE sends a file' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l payload-size -d 'With --push: send a text of so many bytes' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l payload-file -d 'With --push: send the lines of a file in turn' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l input -d 'How stdin is written: raw lines, or json event lines' -r -f -a "raw\t'Payload, cut into messages'
json\t'Event lines; only type and payload are needed'"
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l script -d 'Treat messages by the rules in a file' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l ack -d 'Besides, answer each message with what the filter yields' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l static -d 'Serve the files of this folder to plain requests on the same port' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand listen" -s H -l header -d 'Add a header to the upgrade answer' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l jq-timeout -d 'Longest time a jq filter may take for one message, 0 for no limit; only messages behind it wait meanwhile' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l jq-memory -d 'Most memory a jq filter may take for one message' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l record -d 'Record everything, as event lines or, where F ends in .har, as HAR; F is overwritten' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand listen" -s s -l subprotocol -d 'Speak this subprotocol; the first of ours that the client offers' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l path -d 'Serve this path only; others get 404' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l allow-origin -d 'Let pages of this origin in, and no others (403); \'*\' lets all in, \'same\' those of the address asked' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l compress -d 'Agree to permessage-deflate, with these parameters when given' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l handshake-timeout -d 'Longest time for TLS and the request head together, and for each 16 KiB of a download' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l port-file -d 'Write the port here once it is open' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l max-message-size -d 'Largest message accepted; a larger one ends with Close 1009' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l max-text-size -d 'The same for text messages, where it is another size' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l max-binary-size -d 'The same for binary messages, where it is another size' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l queue-size -d 'Messages that may wait for one session' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l queue-bytes -d 'Bytes that may wait for one session' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l on-full -d 'drop-oldest, drop-newest, block or disconnect [default: drop-oldest; replies wait]' -r -f -a "drop-oldest\t'The oldest waiting messages make room'
drop-newest\t'The new message is dropped'
block\t'The sender waits'
disconnect\t'The slow client is closed with 1008'"
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l tls-cert -d 'Certificate chain, PEM' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l tls-key -d 'Key of the certificate, PEM' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l pkcs12 -d 'Certificate, chain and key in one PKCS#12 file' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l passphrase-env -d 'Passphrase of the key or the PKCS#12 file, from this environment variable' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l tls-ca-out -d 'Write the self-signed certificate\'s CA here, for clients to trust' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l tls-min -d 'Lowest TLS version' -r -f -a "1.2\t'TLS 1.2'
1.3\t'TLS 1.3'"
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l ping-interval -d 'Time between pings, 0 for none' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l ping-timeout -d 'Give a client up when it answers no ping for this long' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l idle-timeout -d 'Close sessions without a message for this long' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l close-timeout -d 'Longest wait for a client\'s Close' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l protocol -d 'Speak feed, envelope or gateway on top of messages' -r -f -a "raw\t'Plain messages'
feed\t'Events for clients that register with filters'
envelope\t'Envelopes with acknowledgements and requests'
gateway\t'A chat-like gateway'"
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l feed-field -d 'feed: a filter\'s values stand where JQ says; a new NAME is a further list of allowed values' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l register-timeout -d 'feed: time a client has to register' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l request -d 'envelope: request this of every peer, for example \'subscribe={"jq":".price > 100"}\'' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l request-timeout -d 'envelope: longest wait for a reply' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l window -d 'envelope: messages that may wait for an acknowledgement' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l max-requests -d 'envelope: most requests under way at a time, each way' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l replay-size -d 'envelope: messages a peer can have replayed' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l max-connections -d 'Most sessions at a time; others get 503' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l max-per-ip -d 'Most sessions at a time of one address; others get 429' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l accept-rate -d 'Most sessions begun a second, as many at once; others get 429' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l accept-rate-per-ip -d 'Most sessions begun a second by one address, as many at once; others get 429' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l max-handshakes -d 'Most connections that are not sessions yet; beyond it the one silent longest is dropped' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l message-rate -d 'Most messages a second of each client, as many at once' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l byte-rate -d 'Most payload bytes a second of each client, as many at once' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l client-ca -d 'With TLS: clients must show a certificate signed by one in this file (PEM or PKCS#12)' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l client-ca-passphrase-env -d 'Passphrase of a PKCS#12 file given to --client-ca, from this environment variable' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l auth-bearer-env -d 'Let in who shows the bearer token in this environment variable; others get 401' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l auth-basic-env -d 'Let in who shows the USER:PASSWORD in this environment variable; others get 401' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l auth-jwt-key -d 'Let in who shows a JSON Web Token signed for this public key, PEM; others get 401' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l auth-jwt-secret-env -d 'The same, signed by HS256 with the secret in this environment variable' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l auth-jwt-audience -d 'What aud of a JSON Web Token must name' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l auth-jwt-issuer -d 'What iss of a JSON Web Token must be' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l auth-timeout -d 'Longest time for that message' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l on-rate -d 'What happens beyond --message-rate and --byte-rate: an error and Close 1008, or reading slows down' -r -f -a "close\t'Send the client an error and close with 1008'
slow\t'The client is read no faster'"
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l session-name -d 'Name each session by what the filter yields; a name works wherever an id does' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l grace -d 'Longest time to close all sessions at the end' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l admin -d 'Metrics, health, sessions and events over HTTP: PORT (on loopback), HOST:PORT or unix:PATH' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l admin-token-env -d 'Answer there only to whoever sends the token in this variable as Authorization: Bearer' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l metrics-names -d 'What metrics are called: wsp, or websocket_input as StreamKit\'s component calls them' -r -f -a "wsp\t'`wsp_…`'
websocket_input\t'`websocket_input_…`'"
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l metrics-component -d 'The component in those metrics' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l schema -d 'Accept only messages that match this JSON Schema or Avro schema' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l on-invalid -d 'What a client gets whose message does not: reply (an error message), close (1008) or drop (nothing)' -r -f -a "reply\t'An error message'
close\t'Close 1008'
drop\t'Nothing'"
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l dead-letter -d 'Keep such messages here, as event lines with the error; what is there already is kept, too' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l arg -d 'Set $NAME to the text VALUE in every filter' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l argjson -d 'Set $NAME to the JSON value in every filter' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l delay -d 'Send each message late by D, more or less by up to J: 200ms, 200ms±50ms or 200ms+-50ms' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l loss -d 'Do not send this share of the messages: 5%, 0.05 or 1/20' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l corrupt -d 'Change a character or byte in this share of the messages' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l duplicate -d 'Send this share of the messages twice' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l stall -d 'Neither read nor write for a while, again and again: \'2s every 10s\', first after 10 s of a session' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l close-after -d 'Close each session after N messages, both ways together, or after D; answers go out first' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l close -d 'Close with this; without --close-after right after opening [default: 1000]' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l reject -d 'Answer every upgrade with this status, and BODY; -H adds headers' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l fragment -d 'Send messages in frames of at most this many payload bytes, not in one each' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l seed -d 'Where chance begins: the same seed gives each session the same faults [default: another each time, printed]' -r
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l format -d 'raw, json, pretty or hex [default: raw; pretty on a terminal]' -r -f -a "raw\t'As it came, text with one newline'
json\t'Event lines'
pretty\t'Indented where it is JSON'
hex\t'Bytes in hexadecimal'"
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l color -d 'Colours on stdout' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l echo -d 'Send each message back'
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l broadcast -d 'Send each message to all'
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l no-self -d 'With --broadcast: not back to its sender'
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l sink -d 'Count messages and discard them'
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l template -d 'Fill in {{seq}} {{uuid}} {{now}} {{now_ms}} {{env.X}} {{rand(1,100)}} in --reply, --payload or --payload-file'
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l devconsole -d 'Serve a page at / that connects to this server, sends, and shows and filters messages'
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l tls -d 'Self-signed certificate for localhost, 127.0.0.1 and ::1'
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l auth-message -d 'Ask for credentials in the first message in place of the request\'s header'
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l tui -d 'Show sessions, queues and messages on a dashboard; ? there shows the keys'
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l require-clients -d '/health says 503 when nobody was connected for 5 minutes'
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l assert-format -d 'Check what format says in --schema, whatever the draft'
complete -c wsp -n "__fish_wsp_using_subcommand listen" -s R -l raw-input -d 'Give filters the text of a message that is not JSON, as a string'
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l no-pong -d 'Do not answer pings'
complete -c wsp -n "__fish_wsp_using_subcommand listen" -l json -d 'Event lines on stdout (same as --format json)'
complete -c wsp -n "__fish_wsp_using_subcommand listen" -s v -l verbose -d 'Handshake, TLS and timings on stderr'
complete -c wsp -n "__fish_wsp_using_subcommand listen" -s q -l quiet -d 'Errors only on stderr'
complete -c wsp -n "__fish_wsp_using_subcommand listen" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -s f -l file -d 'Run the pipelines of a file, read it again at SIGHUP' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand relay" -s j -l jq -d 'Choose and transform; each output is a message' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l fold -d 'Keep state across messages: JQ yields [STATE, OUTPUT...] and knows $state and $prev' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l state-key -d 'Keep a state for each value of JQ' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l state -d 'The state before the first message [default: null]' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l state-keys -d 'Most states kept; the one unused for longest goes' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l non-json -d 'What --jq, --fold and --route cannot read: drop, pass, or error (a dead letter)' -r -f -a "drop\t'It is filtered out'
pass\t'It goes on unchanged'
error\t'It is a dead letter'"
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l schema -d 'JSON Schema or Avro schema of what passes; others are dead letters' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l route -d 'Messages that match go there, the others to TO' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l input -d 'How lines of standard input, files and programs are written: raw or json (event lines)' -r -f -a "raw\t'A line is a message'
json\t'A line is an event line'"
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l batch -d 'Most messages of a batch; HTTP gets one as lines' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l batch-min -d 'Messages a batch waits for, until --batch-age or the end' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l batch-bytes -d 'Payload bytes of a batch [default: 1MiB]' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l batch-age -d 'How long a batch waits for --batch-min, or without that for --batch' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l batch-as -d 'Make one message of a batch: lines, array (JSON), or concat' -r -f -a "lines\t'A line each'
array\t'A JSON array'
concat\t'One behind the other'"
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l batch-jq -d 'Filter a batch as an array; each output is a message [with --batch-as lines by default]' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l queue-size -d 'Messages that may wait for one destination' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l queue-bytes -d 'Bytes that may wait for one destination' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l on-full -d 'When full: block, drop-oldest, drop-newest, spool' -r -f -a "block\t'The source waits'
drop-oldest\t'The oldest waiting messages make room'
drop-newest\t'The new message is dropped'
spool\t'What does not fit in memory goes to the spool'"
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l dead-letter -d 'Keep what no destination takes: in a file, or at an endpoint' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l spool -d 'Store messages in DIR before they are handed on, safe from a crash' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l spool-max -d 'Bytes the spool holds, shared evenly by the destinations' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l spool-full -d 'When the spool is full: block, drop-oldest or drop-newest' -r -f -a "block\t'The source waits'
drop-oldest\t'The oldest waiting messages make room'
drop-newest\t'The new message is dropped'"
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l rate -d 'Most messages a second to all destinations together' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l grace -d 'Longest time to deliver what waits at the end' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l rotate-size -d 'Put a file aside before it grows beyond this, and go on with an empty one' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l rotate-every -d 'Put a file aside when a period of this length is over, counted from 1970 in UTC: 1h is at every full hour' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l rotate-keep -d 'Files put aside that are kept; older ones are deleted [default: all]' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l fsync -d 'When files are brought to disk: never, batch, or at the latest after DUR' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l path -d 'Serve this path too; others than these and that of the address get 404' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l allow-origin -d 'Let pages of this origin in, and no others (403); \'*\' lets all in, \'same\' those of the address asked' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l handshake-timeout -d 'Longest time for TLS and the request head together' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l port-file -d 'Write the port here once it is open' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l max-text-size -d 'Largest text message of a client, where it is another size than --max-message-size' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l max-binary-size -d 'Largest binary message of a client, where it is another size than --max-message-size' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l tls-cert -d 'wss-listen: certificate chain, PEM; without it --pkcs12 names the server\'s certificate and key, too' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l tls-key -d 'wss-listen: key of the certificate, PEM; --passphrase-env opens it' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l tls-ca-out -d 'Write the self-signed certificate\'s CA here, for clients to trust' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l protocol -d 'Speak feed, envelope or gateway at every WebSocket end' -r -f -a "raw\t'Plain messages'
feed\t'Events for clients that register with filters'
envelope\t'Envelopes with acknowledgements and requests'
gateway\t'A chat-like gateway'"
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l feed-field -d 'feed: a filter\'s values stand where JQ says; a new NAME is a further list of allowed values' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l register-timeout -d 'feed: time a client has to register' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l request -d 'envelope: request this of every peer, for example \'subscribe={"jq":".price > 100"}\'' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l window -d 'envelope: messages that may wait for an acknowledgement' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l max-requests -d 'envelope: most requests under way at a time, each way' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l replay-size -d 'envelope: messages a peer can have replayed' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l max-connections -d 'Most sessions at a time; others get 503' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l max-per-ip -d 'Most sessions at a time of one address; others get 429' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l accept-rate -d 'Most sessions begun a second, as many at once; others get 429' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l accept-rate-per-ip -d 'Most sessions begun a second by one address, as many at once; others get 429' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l max-handshakes -d 'Most connections that are not sessions yet; beyond it the one silent longest is dropped' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l message-rate -d 'Most messages a second of each client, as many at once' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l byte-rate -d 'Most payload bytes a second of each client, as many at once' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l client-ca -d 'With TLS: clients must show a certificate signed by one in this file (PEM or PKCS#12)' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l client-ca-passphrase-env -d 'Passphrase of a PKCS#12 file given to --client-ca, from this environment variable' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l auth-bearer-env -d 'Let in who shows the bearer token in this environment variable; others get 401' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l auth-basic-env -d 'Let in who shows the USER:PASSWORD in this environment variable; others get 401' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l auth-jwt-key -d 'Let in who shows a JSON Web Token signed for this public key, PEM; others get 401' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l auth-jwt-secret-env -d 'The same, signed by HS256 with the secret in this environment variable' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l auth-jwt-audience -d 'What aud of a JSON Web Token must name' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l auth-jwt-issuer -d 'What iss of a JSON Web Token must be' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l auth-timeout -d 'Longest time for that message' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l on-rate -d 'What happens beyond --message-rate and --byte-rate: an error and Close 1008, or reading slows down' -r -f -a "close\t'Send the client an error and close with 1008'
slow\t'The client is read no faster'"
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l session-name -d 'Name each session by what the filter yields; a name works wherever an id does' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l client-queue-size -d 'Messages that may wait for one client of a server' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l client-queue-bytes -d 'Bytes that may wait for one client of a server' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l client-on-full -d 'When a client\'s queue is full: block, drop-oldest, drop-newest or disconnect [default: see --client-patience]' -r -f -a "block\t'Everybody waits'
drop-oldest\t'Its oldest messages make room'
drop-newest\t'It does not get the new message'
disconnect\t'It is closed with 1008'"
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l client-patience -d 'How long a client that takes nothing may hold up the others' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l from-protocol -d '--protocol for FROM alone' -r -f -a "raw\t'Plain messages'
feed\t'Events for clients that register with filters'
envelope\t'Envelopes with acknowledgements and requests'
gateway\t'A chat-like gateway'"
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l to-protocol -d '--protocol for TO alone' -r -f -a "raw\t'Plain messages'
feed\t'Events for clients that register with filters'
envelope\t'Envelopes with acknowledgements and requests'
gateway\t'A chat-like gateway'"
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l request-timeout -d 'Longest wait for the answer to an HTTP request or a database\'s transaction' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l record -d 'Record what passes, as event lines or, where F ends in .har, as HAR; F is overwritten' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l admin -d 'Metrics, health, sessions and events over HTTP: PORT (on loopback), HOST:PORT or unix:PATH' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l admin-token-env -d 'Answer there only to whoever sends the token in this variable as Authorization: Bearer' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l metrics-names -d 'What metrics are called: wsp, or websocket_input as StreamKit\'s component calls them' -r -f -a "wsp\t'`wsp_…`'
websocket_input\t'`websocket_input_…`'"
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l metrics-component -d 'The component in those metrics' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l format -d 'raw, json, pretty or hex [default: raw; pretty on a terminal]' -r -f -a "raw\t'As it came, text with one newline'
json\t'Event lines'
pretty\t'Indented where it is JSON'
hex\t'Bytes in hexadecimal'"
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l color -d 'Colours on stdout' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c wsp -n "__fish_wsp_using_subcommand relay" -s H -l header -d 'Add a header, or the lines of @FILE; \'K:\' leaves a default one out' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -s u -l user -d 'Basic authentication, USER:PASSWORD or @FILE' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l user-env -d 'Take USER:PASSWORD from this environment variable, or from two: USER_VAR,PASSWORD_VAR' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l bearer -d 'Bearer token, or @FILE, which is read at every attempt to connect' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l bearer-command -d 'Run this at every attempt to connect, and send what it prints as bearer token' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l bearer-env -d 'Take the bearer token from this environment variable' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l cookie -d 'Send a cookie, NAME=VALUE' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -s o -l origin -d 'Origin header' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -s s -l subprotocol -d 'Offer a subprotocol; the first is preferred' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l host -d 'Host header, where it differs from the URL\'s host' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -s i -l init -d 'Send this after every open, in order; @FILE sends a file' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l init-wait -d 'Wait for a message that matches before the next init message' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l resume -d 'After a reconnect, send MSG with {{value}} replaced by the last value JQ yielded' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l cacert -d 'Trust the certificates in this file (PEM or PKCS#12), and no others' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l cacert-passphrase-env -d 'Passphrase of a PKCS#12 file given to --cacert, from this environment variable' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l cert -d 'Client certificate, PEM' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l key -d 'Key of the client certificate, PEM' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l passphrase-env -d 'Passphrase of the key or PKCS#12 file, from this environment variable' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l pkcs12 -d 'Client certificate and key as PKCS#12' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l tls-min -d 'Lowest TLS version' -r -f -a "1.2\t'TLS 1.2'
1.3\t'TLS 1.3'"
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l sni -d 'Name to ask for and to check, where it differs from the URL\'s host' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l max-redirects -d 'Most redirects to follow' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l proxy -d 'Go through this proxy: http, https, socks5 or socks5h://HOST:PORT, U:P@ before the host; \'\' for none' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l resolve -d 'Use ADDR for HOST:PORT instead of a look-up' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l unix-socket -d 'Connect to this unix socket instead of the URL\'s host' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l interface -d 'Local address to connect from' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l compress -d 'Offer permessage-deflate, with these parameters when given' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l max-message-size -d 'Largest message accepted; a larger one ends with Close 1009' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l jq-timeout -d 'Longest time a jq filter may take for one message, 0 for no limit; only messages behind it wait meanwhile' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l jq-memory -d 'Most memory a jq filter may take for one message' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l connect-timeout -d 'Longest time for look-up, TCP, TLS and upgrade together' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l timeout -d 'Longest time for the whole run (exit 124)' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l idle-timeout -d 'End when no message passed for this long (exit 9)' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l close-timeout -d 'Longest wait for the peer\'s Close' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l ping-interval -d 'Time between pings, 0 for none' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l ping-timeout -d 'Give the peer up when it answers no ping for this long (exit 9)' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l heartbeat -d 'Send this message at intervals' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l heartbeat-interval -d 'Time between heartbeats' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l heartbeat-reply -d 'Answer messages that match with MSG; {{value}} in it is what JQ yielded' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l reconnect -d 'Reconnect when the connection fails, at most N times in a row' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l retry-delay -d 'Maximum delay before the first reconnect' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l retry-max -d 'Maximum delay before any reconnect, also when Retry-After asks for more' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l retry-factor -d 'Multiply the delay by this after each failure; 1 is a fixed delay' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l retry-step -d 'Add this to the delay after each failure, instead of multiplying it' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l retry-jitter -d 'full: each delay is random, up to its maximum; none: it is the maximum [default: full; none when delays are fixed]' -r -f -a "full\t'Random delays up to the maximum'
none\t'The maximum'"
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l retry-on -d 'HTTP statuses and close codes to reconnect after: 429, 5xx, 1001-1015, all, none, default' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l stable-after -d 'Count a session as a success once it has lived this long: delays and N begin anew' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l arg -d 'Set $NAME to the text VALUE in every filter' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l argjson -d 'Set $NAME to the JSON value in every filter' -r
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l check -d 'Check flags and the file of pipelines, open nothing, and end'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l assert-format -d 'Check what format says in --schema, whatever the draft'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l route-all -d 'A message goes to every route that matches'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l both -d 'Both ways: what comes from TO goes to FROM'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l status -d 'Say what waits in the spool, for each destination, and do nothing else'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l fail-on-drop -d 'Dropped messages are a failure (exit 31)'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l tui -d 'Show ends, queues and messages on a dashboard; ? there shows the keys'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l follow -d 'Go on reading at the end of a file, as tail -F does'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l tls -d 'wss-listen: self-signed certificate for localhost, 127.0.0.1 and ::1'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l auth-message -d 'Ask for credentials in the first message in place of the request\'s header'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l require-clients -d '/health says 503 when no WebSocket connection was open for 5 minutes'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l json -d 'Event lines on stdout (same as --format json)'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -s v -l verbose -d 'Handshake, TLS and timings on stderr'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -s q -l quiet -d 'Errors only on stderr'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -s k -l insecure -d 'Accept any certificate'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -s L -l location -d 'Follow redirects'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -s 4 -l ipv4 -d 'Use IPv4 only'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -s 6 -l ipv6 -d 'Use IPv6 only'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l no-compress -d 'Do not offer permessage-deflate'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -l template -d 'Fill in {{seq}} {{uuid}} {{now}} {{now_ms}} {{env.X}} {{rand(1,100)}} in what is sent'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -s R -l raw-input -d 'Give filters the text of a message that is not JSON, as a string'
complete -c wsp -n "__fish_wsp_using_subcommand relay" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wsp -n "__fish_wsp_using_subcommand top" -l token-env -d 'Send the token in this environment variable as Authorization: Bearer' -r
complete -c wsp -n "__fish_wsp_using_subcommand top" -l cacert -d 'Trust the certificates in this PEM file, and no others (https)' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand top" -l color -d 'auto, always or never' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c wsp -n "__fish_wsp_using_subcommand top" -l control -d 'Allow sending, closing and reconnecting; without it the dashboard only looks'
complete -c wsp -n "__fish_wsp_using_subcommand top" -s k -l insecure -d 'Accept any certificate (https)'
complete -c wsp -n "__fish_wsp_using_subcommand top" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wsp -n "__fish_wsp_using_subcommand demo" -l seed -d 'The same seed makes the same feed' -r
complete -c wsp -n "__fish_wsp_using_subcommand demo" -l rate -d 'Messages a second' -r
complete -c wsp -n "__fish_wsp_using_subcommand demo" -s n -l count -d 'In a pipe: end after N messages' -r
complete -c wsp -n "__fish_wsp_using_subcommand demo" -l color -d 'auto, always or never' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c wsp -n "__fish_wsp_using_subcommand demo" -s h -l help -d 'Print help'
complete -c wsp -n "__fish_wsp_using_subcommand config; and not __fish_seen_subcommand_from show path sample" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wsp -n "__fish_wsp_using_subcommand config; and not __fish_seen_subcommand_from show path sample" -f -a "show" -d 'Print every option that is set, its value and its origin'
complete -c wsp -n "__fish_wsp_using_subcommand config; and not __fish_seen_subcommand_from show path sample" -f -a "path" -d 'Print where the configuration file is looked for'
complete -c wsp -n "__fish_wsp_using_subcommand config; and not __fish_seen_subcommand_from show path sample" -f -a "sample" -d 'Print a configuration file with every key in it'
complete -c wsp -n "__fish_wsp_using_subcommand config; and __fish_seen_subcommand_from show" -l json -d 'JSON lines'
complete -c wsp -n "__fish_wsp_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c wsp -n "__fish_wsp_using_subcommand config; and __fish_seen_subcommand_from path" -s h -l help -d 'Print help'
complete -c wsp -n "__fish_wsp_using_subcommand config; and __fish_seen_subcommand_from sample" -s h -l help -d 'Print help'
complete -c wsp -n "__fish_wsp_using_subcommand generate; and not __fish_seen_subcommand_from completions man reference schema monitoring" -s h -l help -d 'Print help'
complete -c wsp -n "__fish_wsp_using_subcommand generate; and not __fish_seen_subcommand_from completions man reference schema monitoring" -f -a "completions" -d 'Print completions for a shell'
complete -c wsp -n "__fish_wsp_using_subcommand generate; and not __fish_seen_subcommand_from completions man reference schema monitoring" -f -a "man" -d 'Write the man pages into a folder'
complete -c wsp -n "__fish_wsp_using_subcommand generate; and not __fish_seen_subcommand_from completions man reference schema monitoring" -f -a "reference" -d 'Write every flag with its meaning and default as a Markdown page, flags.md, into a folder'
complete -c wsp -n "__fish_wsp_using_subcommand generate; and not __fish_seen_subcommand_from completions man reference schema monitoring" -f -a "schema" -d 'Print the JSON Schema that an Avro schema comes to, as --schema uses it'
complete -c wsp -n "__fish_wsp_using_subcommand generate; and not __fish_seen_subcommand_from completions man reference schema monitoring" -f -a "monitoring" -d 'Write alert rules for Prometheus and a dashboard for Grafana into a folder'
complete -c wsp -n "__fish_wsp_using_subcommand generate; and __fish_seen_subcommand_from completions" -s h -l help -d 'Print help'
complete -c wsp -n "__fish_wsp_using_subcommand generate; and __fish_seen_subcommand_from man" -s h -l help -d 'Print help'
complete -c wsp -n "__fish_wsp_using_subcommand generate; and __fish_seen_subcommand_from reference" -s h -l help -d 'Print help'
complete -c wsp -n "__fish_wsp_using_subcommand generate; and __fish_seen_subcommand_from schema" -s h -l help -d 'Print help'
complete -c wsp -n "__fish_wsp_using_subcommand generate; and __fish_seen_subcommand_from monitoring" -s h -l help -d 'Print help'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -s c -l connections -d 'Connections at the same time' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l connect-rate -d 'Open so many a second' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -s d -l duration -d 'Measure so long [default: 10s]' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -s n -l messages -d 'Measure so many messages' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l warmup -d 'Send so long before measuring' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l rate -d 'Open loop: so many messages a second in all' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l in-flight -d 'Closed loop: so many under way on each connection [default: 1]' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l stages -d 'Open loop, rate over time: 10s:1k ramps to it, 10s:=1k steps' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l spacing -d 'Even or random (Poisson) spacing in open loop' -r -f -a "even\t'As evenly as the rate allows'
poisson\t'As independent users would'"
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l mode -d 'echo, push, send or connect' -r -f -a "echo\t'Each message is answered'
push\t'The server speaks'
send\t'Nothing is awaited'
connect\t'Nothing is sent'"
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l publish -d 'The first N connections send, and every message is to reach all; needs --rate or --stages' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l churn -d 'Close each connection after N answers and open it anew; 0 right after it has opened, with --mode connect' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l deadline -d 'A message not answered for so long is lost' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l threads -d 'Threads [default: a processor each, one less for a target on this machine]' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l source-ip -d 'Connect from these addresses in turn: A,B or 10.0.0.0/24' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l seed -d 'What random choices are drawn from' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l payload -d 'Send this; {{marker}} in it is where each message is marked' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l payload-size -d 'Send so many bytes of our own [default: 64]' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l payload-file -d 'Send the lines of this file in turn' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l match -d 'How answers find their message: marker, content, fifo or jq:F' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l threshold -d 'What must hold, else exit 40: p99<20ms, loss<0.01%, rate>10k' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l find-max -d 'Find the greatest rate at which this holds: \'p99<20ms,loss=0\'' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -s H -l header -d 'Add a header, or the lines of @FILE; \'K:\' leaves a default one out' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l user-env -d 'Take USER:PASSWORD from this environment variable, or from two: USER_VAR,PASSWORD_VAR' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l bearer-command -d 'Run this at every attempt to connect, and send what it prints as bearer token' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l bearer-env -d 'Take the bearer token from this environment variable' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l cookie -d 'Send a cookie, NAME=VALUE' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l host -d 'Host header, where it differs from the URL\'s host' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -s i -l init -d 'Send this after every open, in order; @FILE sends a file' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l init-wait -d 'Wait for a message that matches before the next init message' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l cacert-passphrase-env -d 'Passphrase of a PKCS#12 file given to --cacert, from this environment variable' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l cert -d 'Client certificate, PEM' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l key -d 'Key of the client certificate, PEM' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l passphrase-env -d 'Passphrase of the key or PKCS#12 file, from this environment variable' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l pkcs12 -d 'Client certificate and key as PKCS#12' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l tls-min -d 'Lowest TLS version' -r -f -a "1.2\t'TLS 1.2'
1.3\t'TLS 1.3'"
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l sni -d 'Name to ask for and to check, where it differs from the URL\'s host' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l max-redirects -d 'Most redirects to follow' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l proxy -d 'Go through this proxy: http, https, socks5 or socks5h://HOST:PORT, U:P@ before the host; \'\' for none' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l resolve -d 'Use ADDR for HOST:PORT instead of a look-up' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l unix-socket -d 'Connect to this unix socket instead of the URL\'s host' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l interface -d 'Local address to connect from' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l compress -d 'Offer permessage-deflate, with these parameters when given' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l max-message-size -d 'Largest message accepted; a larger one ends with Close 1009' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l jq-timeout -d 'Longest time a jq filter may take for one message, 0 for no limit; only messages behind it wait meanwhile' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l jq-memory -d 'Most memory a jq filter may take for one message' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l connect-timeout -d 'Longest time for look-up, TCP, TLS and upgrade together' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l close-timeout -d 'Longest wait for the peer\'s Close' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l ping-interval -d 'Time between pings, 0 for none' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l ping-timeout -d 'Give the peer up when it answers no ping for this long (exit 9)' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l arg -d 'Set $NAME to the text VALUE in every filter' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l argjson -d 'Set $NAME to the JSON value in every filter' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l csv -d 'Write the seconds to F as CSV' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l html -d 'Write a page with charts to F' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l hdr -d 'Write an HDR interval log to F' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l reconnect -d 'Reconnect when the connection fails, at most N times in a row' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l retry-delay -d 'Maximum delay before the first reconnect' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l retry-max -d 'Maximum delay before any reconnect, also when Retry-After asks for more' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l retry-factor -d 'Multiply the delay by this after each failure; 1 is a fixed delay' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l retry-step -d 'Add this to the delay after each failure, instead of multiplying it' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l retry-jitter -d 'full: each delay is random, up to its maximum; none: it is the maximum [default: full; none when delays are fixed]' -r -f -a "full\t'Random delays up to the maximum'
none\t'The maximum'"
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l retry-on -d 'HTTP statuses and close codes to reconnect after: 429, 5xx, 1001-1015, all, none, default' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l stable-after -d 'Count a session as a success once it has lived this long: delays and N begin anew' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l resume -d 'After a reconnect, send MSG with {{value}} replaced by the last value JQ yielded' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l heartbeat -d 'Send this message at intervals' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l heartbeat-interval -d 'Time between heartbeats' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l heartbeat-reply -d 'Answer messages that match with MSG; {{value}} in it is what JQ yielded' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l idle-timeout -d 'End when no message passed for this long (exit 9)' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l bearer -d 'Bearer token, or @FILE, which is read at every attempt to connect' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -s o -l origin -d 'Origin header' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -s s -l subprotocol -d 'Offer a subprotocol; the first is preferred' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l cacert -d 'Trust the certificates in this file (PEM or PKCS#12), and no others' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -s u -l user -d 'Basic authentication, USER:PASSWORD or @FILE' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l timeout -d 'Longest time for the whole run (exit 124)' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l tls-resume -d 'Offer the TLS session of an earlier connection, as browsers do; the report counts those taken up'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l payload-json -d 'Send random JSON objects of --payload-size bytes'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -s b -l binary -d 'Send binary messages'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -s k -l insecure -d 'Accept any certificate'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -s L -l location -d 'Follow redirects'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -s 4 -l ipv4 -d 'Use IPv4 only'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -s 6 -l ipv6 -d 'Use IPv6 only'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l no-compress -d 'Do not offer permessage-deflate'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l template -d 'Fill in {{seq}} {{uuid}} {{now}} {{now_ms}} {{env.X}} {{rand(1,100)}} in what is sent'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l json -d 'One JSON object on stdout (wsp.bench/1)'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l ndjson -d 'A line of JSON each second, the report last'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -s q -l quiet -d 'Errors only on stderr'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -l tui -d 'Show the run on a dashboard while it goes on; q there ends measuring and reports'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -s R -l raw-input -d 'Give filters the text of a message that is not JSON, as a string'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -a "report" -d 'Add reports up: histograms are merged, percentiles never averaged'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and not __fish_seen_subcommand_from report compare" -a "compare" -d 'Run against two targets in turn, A B A B, and say whether they differ'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from report" -l csv -d 'Write the seconds to F as CSV' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from report" -l html -d 'Write a page with charts to F' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from report" -l hdr -d 'Write an HDR interval log to F' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from report" -l json -d 'One JSON object on stdout (wsp.bench/1)'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from report" -l ndjson -d 'A line of JSON each second, the report last'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from report" -s q -l quiet -d 'Errors only on stderr'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from report" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l repeat -d 'Runs of each; below 4 nothing can be decided' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -s c -l connections -d 'Connections at the same time' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l connect-rate -d 'Open so many a second' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -s d -l duration -d 'Measure so long [default: 10s]' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -s n -l messages -d 'Measure so many messages' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l warmup -d 'Send so long before measuring' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l rate -d 'Open loop: so many messages a second in all' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l in-flight -d 'Closed loop: so many under way on each connection [default: 1]' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l stages -d 'Open loop, rate over time: 10s:1k ramps to it, 10s:=1k steps' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l spacing -d 'Even or random (Poisson) spacing in open loop' -r -f -a "even\t'As evenly as the rate allows'
poisson\t'As independent users would'"
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l mode -d 'echo, push, send or connect' -r -f -a "echo\t'Each message is answered'
push\t'The server speaks'
send\t'Nothing is awaited'
connect\t'Nothing is sent'"
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l publish -d 'The first N connections send, and every message is to reach all; needs --rate or --stages' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l churn -d 'Close each connection after N answers and open it anew; 0 right after it has opened, with --mode connect' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l deadline -d 'A message not answered for so long is lost' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l threads -d 'Threads [default: a processor each, one less for a target on this machine]' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l source-ip -d 'Connect from these addresses in turn: A,B or 10.0.0.0/24' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l seed -d 'What random choices are drawn from' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l payload -d 'Send this; {{marker}} in it is where each message is marked' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l payload-size -d 'Send so many bytes of our own [default: 64]' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l payload-file -d 'Send the lines of this file in turn' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l match -d 'How answers find their message: marker, content, fifo or jq:F' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l threshold -d 'What must hold, else exit 40: p99<20ms, loss<0.01%, rate>10k' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l find-max -d 'Find the greatest rate at which this holds: \'p99<20ms,loss=0\'' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -s H -l header -d 'Add a header, or the lines of @FILE; \'K:\' leaves a default one out' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -s u -l user -d 'Basic authentication, USER:PASSWORD or @FILE' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l user-env -d 'Take USER:PASSWORD from this environment variable, or from two: USER_VAR,PASSWORD_VAR' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l bearer -d 'Bearer token, or @FILE, which is read at every attempt to connect' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l bearer-command -d 'Run this at every attempt to connect, and send what it prints as bearer token' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l bearer-env -d 'Take the bearer token from this environment variable' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l cookie -d 'Send a cookie, NAME=VALUE' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -s o -l origin -d 'Origin header' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -s s -l subprotocol -d 'Offer a subprotocol; the first is preferred' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l host -d 'Host header, where it differs from the URL\'s host' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -s i -l init -d 'Send this after every open, in order; @FILE sends a file' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l init-wait -d 'Wait for a message that matches before the next init message' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l resume -d 'After a reconnect, send MSG with {{value}} replaced by the last value JQ yielded' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l cacert -d 'Trust the certificates in this file (PEM or PKCS#12), and no others' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l cacert-passphrase-env -d 'Passphrase of a PKCS#12 file given to --cacert, from this environment variable' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l cert -d 'Client certificate, PEM' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l key -d 'Key of the client certificate, PEM' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l passphrase-env -d 'Passphrase of the key or PKCS#12 file, from this environment variable' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l pkcs12 -d 'Client certificate and key as PKCS#12' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l tls-min -d 'Lowest TLS version' -r -f -a "1.2\t'TLS 1.2'
1.3\t'TLS 1.3'"
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l sni -d 'Name to ask for and to check, where it differs from the URL\'s host' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l max-redirects -d 'Most redirects to follow' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l proxy -d 'Go through this proxy: http, https, socks5 or socks5h://HOST:PORT, U:P@ before the host; \'\' for none' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l resolve -d 'Use ADDR for HOST:PORT instead of a look-up' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l unix-socket -d 'Connect to this unix socket instead of the URL\'s host' -r -F
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l interface -d 'Local address to connect from' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l compress -d 'Offer permessage-deflate, with these parameters when given' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l max-message-size -d 'Largest message accepted; a larger one ends with Close 1009' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l jq-timeout -d 'Longest time a jq filter may take for one message, 0 for no limit; only messages behind it wait meanwhile' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l jq-memory -d 'Most memory a jq filter may take for one message' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l connect-timeout -d 'Longest time for look-up, TCP, TLS and upgrade together' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l timeout -d 'Longest time for the whole run (exit 124)' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l idle-timeout -d 'End when no message passed for this long (exit 9)' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l close-timeout -d 'Longest wait for the peer\'s Close' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l ping-interval -d 'Time between pings, 0 for none' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l ping-timeout -d 'Give the peer up when it answers no ping for this long (exit 9)' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l heartbeat -d 'Send this message at intervals' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l heartbeat-interval -d 'Time between heartbeats' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l heartbeat-reply -d 'Answer messages that match with MSG; {{value}} in it is what JQ yielded' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l reconnect -d 'Reconnect when the connection fails, at most N times in a row' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l retry-delay -d 'Maximum delay before the first reconnect' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l retry-max -d 'Maximum delay before any reconnect, also when Retry-After asks for more' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l retry-factor -d 'Multiply the delay by this after each failure; 1 is a fixed delay' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l retry-step -d 'Add this to the delay after each failure, instead of multiplying it' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l retry-jitter -d 'full: each delay is random, up to its maximum; none: it is the maximum [default: full; none when delays are fixed]' -r -f -a "full\t'Random delays up to the maximum'
none\t'The maximum'"
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l retry-on -d 'HTTP statuses and close codes to reconnect after: 429, 5xx, 1001-1015, all, none, default' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l stable-after -d 'Count a session as a success once it has lived this long: delays and N begin anew' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l arg -d 'Set $NAME to the text VALUE in every filter' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l argjson -d 'Set $NAME to the JSON value in every filter' -r
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l json -d 'One JSON object on stdout'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l tls-resume -d 'Offer the TLS session of an earlier connection, as browsers do; the report counts those taken up'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l payload-json -d 'Send random JSON objects of --payload-size bytes'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -s b -l binary -d 'Send binary messages'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -s k -l insecure -d 'Accept any certificate'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -s L -l location -d 'Follow redirects'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -s 4 -l ipv4 -d 'Use IPv4 only'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -s 6 -l ipv6 -d 'Use IPv6 only'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l no-compress -d 'Do not offer permessage-deflate'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -l template -d 'Fill in {{seq}} {{uuid}} {{now}} {{now_ms}} {{env.X}} {{rand(1,100)}} in what is sent'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -s R -l raw-input -d 'Give filters the text of a message that is not JSON, as a string'
complete -c wsp -n "__fish_wsp_using_subcommand bench; and __fish_seen_subcommand_from compare" -s h -l help -d 'Print help (see more with \'--help\')'
