package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// marshaler is the JSON form: proto names, every field, nothing unknown, nothing behind the end.
type marshaler struct{ runtime.JSONPb }

func newMarshaler() *marshaler {
	return &marshaler{runtime.JSONPb{MarshalOptions: protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}}}
}

// NewDecoder implements runtime.Marshaler. It reads a line at a time from lines, and everything from other readers:
// a body is bounded before it comes here.
func (m *marshaler) NewDecoder(r io.Reader) runtime.Decoder {
	next := func() ([]byte, error) {
		data, err := io.ReadAll(r)
		if err == nil && len(bytes.TrimSpace(data)) == 0 {
			err = io.EOF // an empty body is an empty request
		}
		return data, err
	}
	l, stream := r.(*lines)
	if stream {
		next = l.next
	}
	return runtime.DecoderFunc(func(v any) error {
		data, err := next()
		if err != nil {
			return err
		}
		msg, ok := v.(proto.Message)
		if !ok {
			return fmt.Errorf("cannot read JSON into a %T", v)
		}
		// Not JSONPb's own: that ignores what follows the first object.
		err = (protojson.UnmarshalOptions{}).Unmarshal(data, msg)
		if err != nil && stream {
			return l.fail(err)
		}
		return err
	})
}

// StreamContentType implements runtime.StreamContentType.
func (m *marshaler) StreamContentType(any) string { return "application/x-ndjson" }

// body is a request's, and remembers that it was too long.
type body struct {
	io.ReadCloser
	tooLarge bool
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		b.tooLarge = true
	}
	return n, err
}

// errLine is a line that does not end in time.
var errLine = fmt.Errorf("a line is longer than %d octets", MaxBody)

// lines is the body of a stream: one message a line. The gateway reads it in a goroutine of its own and keeps to itself
// what was wrong with a line, so it is remembered here.
type lines struct {
	io.Closer
	r *bufio.Reader

	mu  sync.Mutex // guards err
	err error
}

func newLines(b io.ReadCloser) *lines {
	return &lines{Closer: b, r: bufio.NewReaderSize(b, 64<<10)}
}

// Read implements io.Reader; nobody calls it.
func (l *lines) Read([]byte) (int, error) {
	return 0, errors.New("cannot read a stream but by the line")
}

// next returns the next line that is not empty; io.EOF at the end.
func (l *lines) next() ([]byte, error) {
	for {
		var line []byte
		for {
			part, err := l.r.ReadSlice('\n')
			if len(line)+len(part) > MaxBody {
				return nil, l.fail(errLine)
			}
			line = append(line, part...)
			if err == nil || errors.Is(err, io.EOF) && len(bytes.TrimSpace(line)) > 0 {
				break
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				return nil, err
			}
		}
		if len(bytes.TrimSpace(line)) > 0 {
			return line, nil
		}
	}
}

// fail remembers what was wrong, and ends the stream there.
func (l *lines) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	return io.EOF
}

func (l *lines) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// strictQuery reads a query as grpc-gateway does, and refuses what is not a field.
type strictQuery struct{ runtime.DefaultQueryParser }

// Parse implements runtime.QueryParameterParser.
func (q strictQuery) Parse(msg proto.Message, values url.Values, filter *utilities.DoubleArray) error {
	for key := range values {
		if !hasField(msg.ProtoReflect().Descriptor(), strings.Split(key, ".")) {
			return fmt.Errorf("unknown field %q", key)
		}
	}
	return q.DefaultQueryParser.Parse(msg, values, filter)
}

// hasField reports whether a path of names leads to a field.
func hasField(d protoreflect.MessageDescriptor, path []string) bool {
	for _, name := range path {
		if d == nil {
			return false
		}
		f := d.Fields().ByName(protoreflect.Name(name))
		if f == nil {
			f = d.Fields().ByJSONName(name)
		}
		if f == nil {
			return false
		}
		d = f.Message()
	}
	return true
}
