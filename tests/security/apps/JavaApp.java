// com.sun.net.httpserver as an application server: see tests/security/app_servers.py for what each of them does.
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.Executors;

public class JavaApp {
  static final String POISON = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

  public static void main(String[] argv) throws Exception {
    Path log = Path.of(argv[1]);
    HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(argv[0])), 50);
    server.setExecutor(Executors.newFixedThreadPool(4));
    server.createContext("/", exchange -> {
      String target = exchange.getRequestURI().toString();
      String line = exchange.getRequestMethod() + " " + target + "\n";
      Files.writeString(log, line, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
      if (!target.contains("early")) exchange.getRequestBody().readAllBytes();
      int status = target.contains("status=") ? Integer.parseInt(target.replaceAll(".*status=(\\d+).*", "$1")) : 200;
      byte[] body = (target.contains("poison") ? POISON : target).getBytes();
      boolean bare = exchange.getRequestMethod().equals("HEAD") || status == 204 || status == 304;
      exchange.sendResponseHeaders(status, bare ? -1 : body.length);
      if (!bare) exchange.getResponseBody().write(body);
      exchange.close();
    });
    server.start();
  }
}
