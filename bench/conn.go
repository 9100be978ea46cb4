package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// conn is one kept connection to a server. It is leaner than http.Client, so that
// the load does not wait for its own CPU more than it must, and does not retry:
// whatever goes wrong is an error of the run.
type conn struct {
	addr string
	c    net.Conn
	r    *bufio.Reader
	out  bytes.Buffer
	last *answer
}

const ioTimeout = 10 * time.Second

// answer is one response with all of its body.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// request is what the work needs of HTTP. An empty form is a GET.
type request struct {
	target string // path and query
	form   string // urlencoded body of a POST
	auth   string // value of Authorization
	cookie string // value of Cookie
	page   bool   // a form that a browser sends from a page of the server's own
}

func (c *conn) do(q request) (*answer, error) {
	if c.c == nil {
		nc, err := net.DialTimeout("tcp", c.addr, ioTimeout)
		if err != nil {
			return nil, err
		}
		c.c, c.r = nc, bufio.NewReader(nc)
	}
	a, again, err := c.exchange(q)
	if err != nil || !again {
		c.close()
	}
	return a, err
}

func (c *conn) exchange(q request) (a *answer, again bool, err error) {
	b := &c.out
	b.Reset()
	method := "GET "
	if q.form != "" {
		method = "POST "
	}
	b.WriteString(method)
	b.WriteString(q.target)
	b.WriteString(" HTTP/1.1\r\nHost: ")
	b.WriteString(c.addr)
	b.WriteString("\r\n")
	if q.auth != "" {
		b.WriteString("Authorization: " + q.auth + "\r\n")
	}
	if q.cookie != "" {
		b.WriteString("Cookie: " + q.cookie + "\r\n")
	}
	if q.page {
		b.WriteString("Origin: http://" + c.addr + "\r\nSec-Fetch-Site: same-origin\r\n")
	}
	if q.form != "" {
		b.WriteString("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: " + strconv.Itoa(len(q.form)) + "\r\n\r\n" + q.form)
	} else {
		b.WriteString("\r\n")
	}
	if err := c.c.SetDeadline(time.Now().Add(ioTimeout)); err != nil {
		return nil, false, err
	}
	if _, err := c.c.Write(b.Bytes()); err != nil {
		return nil, false, err
	}
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return nil, false, fmt.Errorf("%s%s: %w", method, path(q.target), err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, false, fmt.Errorf("%s%s: %w", method, path(q.target), err)
	}
	c.last = &answer{res.StatusCode, res.Header, body}
	return c.last, !res.Close, nil
}

func (c *conn) close() {
	if c.c != nil {
		_ = c.c.Close()
		c.c = nil
	}
}

// path cuts the query off, which may hold secrets of the run and is long.
func path(target string) string {
	p, _, _ := strings.Cut(target, "?")
	return p
}

// local turns an absolute URL of the server into a request target.
func local(addr, raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", err
	}
	if u.Host != "" && u.Host != addr {
		return "", fmt.Errorf("leads away to %s", u.Host)
	}
	return u.RequestURI(), nil
}
