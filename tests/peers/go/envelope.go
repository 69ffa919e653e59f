package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// MessageEnvelope is how the component writes every message; what control messages lack stays out.
type MessageEnvelope struct {
	Type      string          `json:"type"`
	ID        string          `json:"id"`
	Timestamp int64           `json:"timestamp"`
	Payload   json.RawMessage `json:"payload,omitempty"`
}

// A sender of numbers, which outlives its connections. What has no answer is sent again on the next one.
type sender struct {
	last, window, most int
	sent, width        int
	acknowledged       map[int]bool
	acks, slow, resent int
	connections        int
}

func newSender(last int, window int) *sender {
	return &sender{last: last, window: window, most: window, acknowledged: map[int]bool{}}
}

func (s *sender) data(number int) MessageEnvelope {
	reading := map[string]any{"sensor_id": "temp-01", "value": number}
	if s.width > 0 {
		reading["line"] = strings.Repeat("x", s.width) + strconv.Itoa(number)
	}
	payload, err := json.Marshal(reading)
	check(err)
	id := fmt.Sprintf("data-%03d", number)
	return MessageEnvelope{Type: "data", ID: id, Timestamp: time.Now().UnixMilli(), Payload: payload}
}

// The number of an id that was sent.
func (s *sender) numberOf(id string) (int, bool) {
	number, err := strconv.Atoi(strings.TrimPrefix(id, "data-"))
	return number, err == nil && number >= 1 && number <= s.sent
}

// Sends until everything is acknowledged, or until so many answers have come where `until` is not 0. Asks for the
// status first, as a request whose answer has to carry its id.
func (s *sender) run(connection *websocket.Conn, until int) error {
	s.connections++
	ask := MessageEnvelope{Type: "request", ID: "req-001", Timestamp: time.Now().UnixMilli(),
		Payload: json.RawMessage(`{"method":"status","params":{}}`)}
	if err := connection.WriteJSON(ask); err != nil {
		return err
	}
	waiting := map[string]bool{}
	replied := false
	next := 1
	for len(s.acknowledged) < s.last || !replied {
		for ; next <= s.last && len(waiting) < s.window; next++ {
			if s.acknowledged[next] {
				continue
			}
			if next <= s.sent {
				s.resent++
			}
			s.sent = max(s.sent, next)
			envelope := s.data(next)
			if err := connection.WriteJSON(envelope); err != nil {
				return err
			}
			waiting[envelope.ID] = true
		}
		var envelope MessageEnvelope
		if err := connection.ReadJSON(&envelope); err != nil {
			return err
		}
		if envelope.ID == "" || envelope.Timestamp < 1_600_000_000_000 {
			fail("an envelope without an id or a time: %+v", envelope)
		}
		switch envelope.Type {
		case "ack":
			// What is sent again may be answered twice, for the answer to the first time may come on this connection.
			number, known := s.numberOf(envelope.ID)
			if !known {
				fail("an ack for %q, which was not sent", envelope.ID)
			}
			delete(waiting, envelope.ID)
			s.acknowledged[number] = true
			s.acks++
			if s.window < s.most {
				s.window++
			}
		case "nack":
			fail("refused: %s %s", envelope.ID, envelope.Payload)
		case "slow":
			var depth struct {
				Depth       int     `json:"queue_depth"`
				Capacity    int     `json:"queue_capacity"`
				Utilization float64 `json:"utilization"`
			}
			check(json.Unmarshal(envelope.Payload, &depth))
			if depth.Capacity == 0 || depth.Utilization <= 0.8 || depth.Utilization > 1 {
				fail("slow without a reason: %s", envelope.Payload)
			}
			if s.slow == 0 {
				print(map[string]float64{"told slow": depth.Utilization})
			}
			s.slow++
			s.window = (s.window + 1) / 2
		case "reply":
			var reply struct {
				Status string         `json:"status"`
				Result map[string]any `json:"result"`
			}
			check(json.Unmarshal(envelope.Payload, &reply))
			if envelope.ID != "req-001" || reply.Status != "ok" || reply.Result == nil {
				fail("not the answer to the request: %s %s", envelope.ID, envelope.Payload)
			}
			replied = true
		default:
			fail("an envelope of type %q", envelope.Type)
		}
		if until != 0 && s.acks >= until {
			return nil
		}
	}
	return nil
}

func (s *sender) report() {
	print(map[string]any{"done": len(s.acknowledged), "acks": s.acks, "slow": s.slow, "resent": s.resent,
		"connections": s.connections})
}

func sendAsClient(url string, last int, window int, width int) {
	s := newSender(last, window)
	s.width = width
	connection := dial(url)
	check(s.run(connection, 0))
	leave(connection)
	s.report()
}

func sendAsServer(last int, window int) {
	s := newSender(last, window)
	var one sync.Mutex
	serve("/stream", func(connection *websocket.Conn) {
		one.Lock()
		defer one.Unlock()
		if s.connections == 0 {
			// Gone without a Close, with messages under way.
			check(s.run(connection, last/2))
			check(connection.UnderlyingConn().Close())
			return
		}
		check(s.run(connection, 0))
		s.report()
		// The client is the one to leave.
		for {
			if _, _, err := connection.ReadMessage(); err != nil {
				return
			}
		}
	})
}
