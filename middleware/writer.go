package middleware

import (
	"bufio"
	"net"
	"net/http"
)

// recorder notes status and size of an answer. Unwrap leaves everything else to
// http.ResponseController; Flush and Hijack are here for code that asserts them.
type recorder struct {
	http.ResponseWriter
	status int // 0: nothing written yet
	bytes  int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) Flush() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil && w.status == 0 {
		w.status = http.StatusSwitchingProtocols
	}
	return c, rw, err
}

// fail answers with a fixed JSON body, whatever the handler had prepared.
func fail(w http.ResponseWriter, status int, body string) {
	header := w.Header()
	for _, name := range [...]string{"Content-Length", "Content-Encoding", "ETag", "Last-Modified", "Location", "Set-Cookie"} {
		header.Del(name)
	}
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if body == "" {
		header.Del("Content-Type")
		w.WriteHeader(status)
		return
	}
	header.Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}
