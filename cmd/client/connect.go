package client

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidegate/tidegate/api"
)

// checkServer reads host:port.
func checkServer(text string) error {
	host, port, err := net.SplitHostPort(text)
	n, perr := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || host == "":
		return &UsageError{Text: fmt.Sprintf("server %q is not host:port; write host:port, e.g. 127.0.0.1:7400 or [::1]:7400", text)}
	case perr != nil || n == 0:
		return &UsageError{Text: fmt.Sprintf("server %q has no port from 1 to 65535; write host:port, e.g. %s", text, net.JoinHostPort(host, "7400"))}
	default:
		return nil
	}
}

// round is what the servers said, one after the other, that cannot take a call.
type round struct {
	servers []string
	errs    []error
}

func (r *round) add(server string, err error) {
	r.servers, r.errs = append(r.servers, server), append(r.errs, err)
}

// final reports whether another round would end like this one: no server was reached, and a certificate was refused.
func (r *round) final() bool {
	refused := false
	for _, err := range r.errs {
		if api.ErrorReason(err) != "" {
			return false
		}
		refused = refused || certificateTrouble(err) != ""
	}
	return refused
}

// err is what the round came to. What a server said itself comes first; else each server has its line.
func (r *round) err(tlsDir string) error {
	var lines []string
	code := codes.Unavailable
	for i, err := range r.errs {
		if api.ErrorReason(err) != "" {
			return err
		}
		lines = append(lines, fmt.Sprintf("%s: %s", r.servers[i], trouble(err)))
		if certificateTrouble(err) != "" {
			code = codes.Unauthenticated
		}
	}
	text := "no server answers"
	if len(lines) == 1 {
		text = "the server does not answer"
	}
	if code == codes.Unauthenticated {
		text = fmt.Sprintf("no connection with the certificate in %s", tlsDir)
		lines = append(lines, "--tls-dir (TIDEGATE_TLS_DIR) must hold ca.pem, cert.pem and key.pem of the cluster that is called")
	}
	return status.Error(code, text+":\n"+strings.Join(lines, "\n"))
}

// trouble is a transport's error in plain words.
func trouble(err error) string {
	if text := certificateTrouble(err); text != "" {
		return text
	}
	text := status.Convert(err).Message()
	switch {
	case strings.Contains(text, "connection refused"):
		return "nobody listens there (connection refused)"
	case strings.Contains(text, "i/o timeout"), strings.Contains(text, "deadline exceeded"):
		return "no answer in time"
	case strings.Contains(text, "no such host"):
		return "there is no host of that name"
	case strings.Contains(text, "no route to host"), strings.Contains(text, "network is unreachable"):
		return "there is no route to it"
	case strings.Contains(text, "first record does not look like a TLS handshake"):
		return "it does not speak TLS: is this the api address?"
	default:
		return text
	}
}

// certificateTrouble says which of the two certificates was not accepted, and why; empty when none was refused.
func certificateTrouble(err error) string {
	text := status.Convert(err).Message()
	switch {
	case strings.Contains(text, "signed by unknown authority"):
		return "its certificate is not of the authority in ca.pem"
	case strings.Contains(text, "remote error: tls:"):
		_, why, _ := strings.Cut(text, "remote error: tls: ")
		return "it did not accept the certificate in cert.pem (" + strings.TrimRight(why, `"`) + ")"
	case strings.Contains(text, "certificate has expired"):
		return "its certificate has expired, or is not valid yet"
	case strings.Contains(text, "x509: certificate is valid for"), strings.Contains(text, "doesn't contain any IP SANs"),
		strings.Contains(text, "is not valid for any names"):
		return "its certificate is for another name than the one that was called"
	case strings.Contains(text, "cannot accept peer"):
		_, why, _ := strings.Cut(text, "cannot accept peer")
		return "its certificate is not that of a member of this cluster (" + strings.Trim(why, `: "`) + ")"
	default:
		return ""
	}
}
