// Peers made with Jetty's WebSocket client and server, for tests of wsp.
//
//   java -cp 'LIBS/*' Peer.java client URL [--compress] MESSAGE...   sends each message as text and as binary and waits
//                                                                    for its echo, then a ping for its pong
//   java -cp 'LIBS/*' Peer.java server                               an echo server; prints `listening PORT`
//
// A client prints one line of JSON. Whatever goes wrong is an exception and exit status 1.

import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.websocket.api.Callback;
import org.eclipse.jetty.websocket.api.Session;
import org.eclipse.jetty.websocket.client.ClientUpgradeRequest;
import org.eclipse.jetty.websocket.client.WebSocketClient;
import org.eclipse.jetty.websocket.server.WebSocketUpgradeHandler;

public class Peer {
    static final int LARGEST = 16 << 20;
    static final long PATIENCE = 60;

    /** What came, in order, each with a letter for its kind. */
    public static class Asking implements Session.Listener.AutoDemanding {
        final BlockingQueue<String> came = new LinkedBlockingQueue<>();

        @Override
        public void onWebSocketText(String text) {
            came.add("t" + text);
        }

        @Override
        public void onWebSocketBinary(ByteBuffer bytes, Callback callback) {
            came.add("b" + StandardCharsets.UTF_8.decode(bytes));
            callback.succeed();
        }

        @Override
        public void onWebSocketPong(ByteBuffer bytes) {
            came.add("p" + StandardCharsets.UTF_8.decode(bytes));
        }

        @Override
        public void onWebSocketClose(int code, String reason) {
            came.add("c" + code);
        }

        void expect(String what) throws Exception {
            String next = came.poll(PATIENCE, TimeUnit.SECONDS);
            if (!what.equals(next)) {
                throw new IllegalStateException("expected " + what + ", got " + next);
            }
        }
    }

    /** Sends back what comes. */
    public static class Echo implements Session.Listener.AutoDemanding {
        Session session;

        @Override
        public void onWebSocketOpen(Session session) {
            this.session = session;
            System.out.println("{\"event\":\"open\",\"protocol\":\"" + session.getUpgradeResponse().getAcceptedSubProtocol() + "\"}");
        }

        @Override
        public void onWebSocketText(String text) {
            session.sendText(text, Callback.NOOP);
        }

        @Override
        public void onWebSocketBinary(ByteBuffer bytes, Callback callback) {
            session.sendBinary(bytes, callback);
        }

        @Override
        public void onWebSocketClose(int code, String reason) {
            System.out.println("{\"code\":" + code + ",\"event\":\"close\"}");
        }
    }

    static void client(List<String> words) throws Exception {
        URI url = URI.create(words.remove(0));
        ClientUpgradeRequest request = new ClientUpgradeRequest();
        request.setSubProtocols("other", "chat");
        if (words.get(0).equals("--compress")) {
            words.remove(0);
            request.addExtensions("permessage-deflate");
        }
        WebSocketClient client = new WebSocketClient();
        client.setMaxTextMessageSize(LARGEST);
        client.setMaxBinaryMessageSize(LARGEST);
        client.start();
        Asking asking = new Asking();
        Session session = client.connect(asking, url, request).get(PATIENCE, TimeUnit.SECONDS);
        int replies = 0;
        for (String message : words) {
            session.sendText(message, Callback.NOOP);
            asking.expect("t" + message);
            session.sendBinary(StandardCharsets.UTF_8.encode(message), Callback.NOOP);
            asking.expect("b" + message);
            replies += 2;
        }
        session.sendPing(StandardCharsets.UTF_8.encode("are you there"), Callback.NOOP);
        asking.expect("pare you there");
        boolean compressed = !session.getUpgradeResponse().getExtensions().isEmpty();
        String protocol = session.getUpgradeResponse().getAcceptedSubProtocol();
        session.close(1000, "done", Callback.NOOP);
        asking.expect("c1000");
        client.stop();
        System.out.println("{\"replies\":" + replies + ",\"compressed\":" + compressed + ",\"protocol\":\"" + protocol + "\",\"code\":1000}");
    }

    static void serve() throws Exception {
        Server server = new Server();
        ServerConnector connector = new ServerConnector(server);
        connector.setHost("127.0.0.1");
        server.addConnector(connector);
        server.setHandler(WebSocketUpgradeHandler.from(server, container -> {
            container.setMaxTextMessageSize(LARGEST);
            container.setMaxBinaryMessageSize(LARGEST);
            container.addMapping("/*", (request, response, callback) -> {
                if (request.getSubProtocols().contains("chat")) {
                    response.setAcceptedSubProtocol("chat");
                }
                return new Echo();
            });
        }));
        server.start();
        System.out.println("listening " + connector.getLocalPort());
        server.join();
    }

    public static void main(String[] arguments) {
        List<String> words = new ArrayList<>(Arrays.asList(arguments));
        try {
            switch (words.remove(0)) {
                case "client" -> client(words);
                case "server" -> serve();
                default -> throw new IllegalArgumentException("client or server");
            }
        } catch (Exception error) {
            error.printStackTrace();
            // Jetty's threads go on otherwise.
            System.exit(1);
        }
    }
}
