// Node as an application server: see tests/security/app_servers.py for what each of them does.
const http = require("http");
const fs = require("fs");

const [port, log] = process.argv.slice(2);
const POISON = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

http.createServer((request, response) => {
  fs.appendFileSync(log, `${request.method} ${request.url}\n`);
  const query = new URL(request.url, "http://x").searchParams;
  const answer = () => {
    response.writeHead(Number(query.get("status") || 200));
    response.end(query.has("poison") ? POISON : request.url);
  };
  if (query.has("early")) return answer();
  request.on("data", () => {});
  request.on("end", answer);
}).listen(Number(port), "127.0.0.1");
