// Peers made with gorilla/websocket, for tests of wsp.
//
//	gorilla client URL MESSAGE...            sends each message as text and as binary and waits for its echo
//	gorilla server                           an echo server; prints `listening PORT`
//	gorilla feed URL FILTERS COUNT           a client of a feed that leaves after COUNT events
//	gorilla envelope-client URL LAST WINDOW [WIDTH]
//	                                         sends the numbers up to LAST as envelopes, until all are acknowledged;
//	                                         with WIDTH each has a line of that many x and the number, too
//	gorilla envelope-server LAST WINDOW      the same as a server at /stream, which loses its first connection halfway
//
// A client sends WSP_TEST_TOKEN, where it is set, as a bearer token. Whatever goes wrong is {"error": ...} and exit status 1.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/gorilla/websocket"
)

var upgrader = websocket.Upgrader{EnableCompression: true, Subprotocols: []string{"chat"}}

func print(line any) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}

func fail(format string, values ...any) {
	print(map[string]string{"error": fmt.Sprintf(format, values...)})
	os.Exit(1)
}

func check(err error) {
	if err != nil {
		fail("%v", err)
	}
}

func dial(url string) *websocket.Conn {
	dialer := websocket.Dialer{HandshakeTimeout: 20 * time.Second, EnableCompression: true, Subprotocols: []string{"chat"}}
	header := http.Header{}
	if token := os.Getenv("WSP_TEST_TOKEN"); token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	connection, response, err := dialer.Dial(url, header)
	if err != nil && response != nil {
		fail("%v: %s", err, response.Status)
	}
	check(err)
	return connection
}

// Closes with 1000 and waits for the answer; its code.
func leave(connection *websocket.Conn) int {
	close := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "bye")
	check(connection.WriteControl(websocket.CloseMessage, close, time.Now().Add(20*time.Second)))
	for {
		_, _, err := connection.ReadMessage()
		if answer, ok := err.(*websocket.CloseError); ok {
			return answer.Code
		}
		check(err)
	}
}

func client(url string, messages []string) {
	connection := dial(url)
	replies, pongs := 0, 0
	connection.SetPongHandler(func(string) error { pongs++; return nil })
	for _, message := range messages {
		for _, kind := range []int{websocket.TextMessage, websocket.BinaryMessage} {
			check(connection.WriteMessage(kind, []byte(message)))
			came, data, err := connection.ReadMessage()
			check(err)
			if came != kind || !bytes.Equal(data, []byte(message)) {
				fail("message %d did not come back as it was sent", replies)
			}
			replies++
		}
	}
	// A pong is seen while something else is read.
	check(connection.WriteMessage(websocket.PingMessage, []byte("last")))
	code := leave(connection)
	print(map[string]any{"replies": replies, "pongs": pongs, "protocol": connection.Subprotocol(), "code": code})
}

// Serves on a free port of loopback, each connection by `each`.
func serve(path string, each func(*websocket.Conn)) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Printf("listening %d\n", listener.Addr().(*net.TCPAddr).Port)
	http.HandleFunc(path, func(response http.ResponseWriter, request *http.Request) {
		connection, err := upgrader.Upgrade(response, request, nil)
		if err != nil {
			print(map[string]string{"error": err.Error()})
			return
		}
		defer connection.Close()
		each(connection)
	})
	check(http.Serve(listener, nil))
}

func echo(connection *websocket.Conn) {
	print(map[string]string{"event": "open", "protocol": connection.Subprotocol()})
	for {
		kind, data, err := connection.ReadMessage()
		if err != nil {
			if end, ok := err.(*websocket.CloseError); ok {
				print(map[string]any{"event": "close", "code": end.Code, "reason": end.Text})
			}
			return
		}
		if connection.WriteMessage(kind, data) != nil {
			return
		}
	}
}

func feed(url string, filters string, count int) {
	connection := dial(url)
	for events := 0; events < count; {
		_, data, err := connection.ReadMessage()
		check(err)
		var message map[string]any
		check(json.Unmarshal(data, &message))
		switch message["type"] {
		case "welcome":
			print(map[string]any{"control": message})
			register := map[string]any{"type": "register", "filters": json.RawMessage(filters)}
			check(connection.WriteJSON(register))
		case "registered", "error":
			print(map[string]any{"control": message})
		default:
			print(map[string]any{"event": message})
			events++
		}
	}
	print(map[string]any{"close": leave(connection)})
}

func main() {
	defer os.Stdout.Sync()
	word := func(place int) string {
		if place >= len(os.Args) {
			fail("%s is missing", [...]string{"", "a command", "a URL or a number", "an argument", "an argument", "a width"}[place])
		}
		return os.Args[place]
	}
	number := func(place int) int {
		value, err := strconv.Atoi(word(place))
		check(err)
		return value
	}
	switch word(1) {
	case "client":
		client(word(2), os.Args[3:])
	case "server":
		serve("/", echo)
	case "feed":
		feed(word(2), word(3), number(4))
	case "envelope-client":
		width := 0
		if len(os.Args) > 5 {
			width = number(5)
		}
		sendAsClient(word(2), number(3), number(4), width)
	case "envelope-server":
		sendAsServer(number(2), number(3))
	default:
		fail("unknown command %s", word(1))
	}
}
