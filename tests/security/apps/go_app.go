// Go's net/http as an application server: see tests/security/app_servers.py for what each of them does.
package main

import (
	"io"
	"net/http"
	"os"
	"strconv"
)

const poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"

func main() {
	log, err := os.OpenFile(os.Args[2], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	answer := http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		log.WriteString(request.Method + " " + request.RequestURI + "\n")
		query := request.URL.Query()
		if !query.Has("early") {
			io.Copy(io.Discard, request.Body)
		}
		if status, err := strconv.Atoi(query.Get("status")); err == nil {
			response.WriteHeader(status)
		}
		body := request.RequestURI
		if query.Has("poison") {
			body = poison
		}
		io.WriteString(response, body)
	})
	panic(http.ListenAndServe("127.0.0.1:"+os.Args[1], answer))
}
