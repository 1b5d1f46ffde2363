package dev.podium.examples.predict;

import ai.onnxruntime.OrtException;
import com.google.gson.Gson;
import com.google.gson.JsonParseException;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import dev.podium.Follower;
import dev.podium.Podium;
import dev.podium.Registry;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Locale;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * Serves an ONNX model over HTTP, in the version that a reference means: it swaps to the next one while it serves, and serves on while
 * the registry is away.
 */
public final class Main {
  private static final int MAX_BODY_BYTES = 1 << 20;
  private static final int THREADS = 16;
  private static final int LEAVING_SECONDS = 1; // for requests in flight when it is told to end
  private static final Gson GSON = new Gson();
  private static final Logger LOG = Logger.getLogger("predict");

  private final Follower follower;
  private final Serving serving;

  private Main(Follower follower) throws OrtException {
    this.follower = follower;
    serving = new Serving(follower);
  }

  private record Answer(String version, long number, float[] predictions) {}

  private record Status(String version, String state) {}

  private record Problem(String error) {}

  private interface Handler {
    Object handle(HttpExchange exchange) throws Exception;
  }

  /**
   * Serves until the process is told to end.
   *
   * @param arguments the reference, and the port, which is 8080 unless said
   * @throws Exception if there is nothing to serve
   */
  public static void main(String[] arguments) throws Exception {
    if (arguments.length < 1 || arguments.length > 2) {
      System.err.println("usage: java -jar predict.jar NAME@ALIAS [PORT]");
      System.exit(2);
    }
    String reference = arguments[0];
    int port = arguments.length == 2 ? Integer.parseInt(arguments[1]) : 8080;
    System.setProperty("sun.net.httpserver.nodelay", "true"); // else answers wait for the client's acknowledgement of the header

    Registry registry = Podium.connect(); // $PODIUM_URL, else 127.0.0.1:7070
    Main main = new Main(registry.follow(reference));
    ExecutorService threads = Executors.newFixedThreadPool(THREADS);
    HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
    server.setExecutor(threads);
    server.createContext("/predict", exchange -> answer(exchange, main::predict));
    server.createContext("/status", exchange -> answer(exchange, main::status));
    server.start();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      server.stop(LEAVING_SECONDS);
      registry.close();
    }));
    System.out.println("serving " + reference + " at 127.0.0.1:" + server.getAddress().getPort());
  }

  private Object predict(HttpExchange exchange) throws IOException, OrtException {
    byte[] body = exchange.getRequestBody().readNBytes(MAX_BODY_BYTES);
    float[][] rows = GSON.fromJson(new String(body, StandardCharsets.UTF_8), float[][].class);
    if (rows == null) {
      throw new IllegalArgumentException("the body must be a list of rows");
    }
    Model model = serving.acquire(); // once: the whole answer is from one version
    try {
      return new Answer(model.version(), model.number(), model.predict(rows));
    } finally {
      model.release();
    }
  }

  private Object status(HttpExchange exchange) {
    return new Status(serving.version(), follower.state().name().toLowerCase(Locale.ROOT));
  }

  private static void answer(HttpExchange exchange, Handler handler) throws IOException {
    int status = 200;
    String answer;
    try {
      answer = GSON.toJson(handler.handle(exchange));
    } catch (JsonParseException | IllegalArgumentException wrong) {
      status = 400;
      answer = GSON.toJson(new Problem(wrong.getMessage()));
    } catch (Exception failed) {
      LOG.log(Level.SEVERE, "a request failed", failed);
      status = 500;
      answer = GSON.toJson(new Problem("see the log"));
    }
    try (exchange) {
      byte[] body = answer.getBytes(StandardCharsets.UTF_8);
      exchange.getResponseHeaders().set("Content-Type", "application/json");
      exchange.sendResponseHeaders(status, body.length);
      exchange.getResponseBody().write(body);
    }
  }
}
