package gateway

import (
	"context"
	"net/http"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// stream answers a call whose answer goes on until one of both ends it.
func (g *Gateway) stream(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if drain, ok := ctx.Value(drainKey{}).(context.Context); ok {
		defer context.AfterFunc(drain, cancel)()
	}
	out := &streamWriter{ResponseWriter: w, rc: http.NewResponseController(w)}
	r = inner(r.WithContext(ctx))
	if r.Method == http.MethodGet {
		g.mux.ServeHTTP(out, withTLS(r))
		return
	}
	if r.URL.RawQuery != "" {
		WriteError(w, violation("query", "a stream takes its fields in the body", "leave out what follows the question mark"))
		return
	}
	// Verdicts go out while batches come in; HTTP/1 has to be told.
	_ = out.rc.EnableFullDuplex() // HTTP/2 needs no telling
	in := newLines(r.Body)
	r.Body = in
	g.mux.ServeHTTP(out, withTLS(r))
	if err := in.failed(); err != nil && ctx.Err() == nil {
		st := explainText(status.New(codes.InvalidArgument, err.Error()))
		if !out.wrote {
			WriteError(w, st)
			return
		}
		_, _ = out.Write(append([]byte(`{"error":`), append(statusJSON(st), "}\n"...)...)) // who went away does not read
	}
}

// streamWriter gives a reader a while for each part of a stream, and notes whether there was one.
type streamWriter struct {
	http.ResponseWriter
	rc    *http.ResponseController
	wrote bool
}

// Unwrap is for http.ResponseController.
func (s *streamWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (s *streamWriter) WriteHeader(code int) {
	s.wrote = true
	s.ResponseWriter.WriteHeader(code)
}

// Write implements io.Writer.
func (s *streamWriter) Write(p []byte) (int, error) {
	s.wrote = true
	_ = s.rc.SetWriteDeadline(time.Now().Add(slowReader)) // what has no deadlines is no connection
	return s.ResponseWriter.Write(p)
}
