package controller

import (
	"errors"
	"fmt"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tidegate/tidegate/policy"
	raftv1 "github.com/tidegate/tidegate/proto/tidegate/raft/v1"
)

const (
	// maxEntry bounds one entry of the log, compressed: raft sends an entry in one piece, within a heartbeat.
	maxEntry = 512 << 10
	// maxBody bounds the same entry decompressed, so that a small entry cannot fill a node's memory.
	maxBody = 16 << 20
	// compressAbove is the size from which a body is worth compressing.
	compressAbove = 1 << 10
)

// envelope is one command of the log.
type envelope struct {
	level uint32
	base  policy.Index // of the command before
	at    time.Time
	items []item
}

// item is one decision within an envelope.
type item struct {
	by        policy.Principal
	reason    string
	requestID policy.RequestID
	changes   []policy.Change
	raw       []byte // as it stands in the entry; only of an item that was read
}

// packer writes and reads log entries. It may be used by several goroutines.
type packer struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newPacker() (*packer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, fmt.Errorf("cannot make compressor: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBody))
	if err != nil {
		return nil, fmt.Errorf("cannot make decompressor: %w", err)
	}
	return &packer{enc: enc, dec: dec}, nil
}

// packItem encodes one item; its length is what the item adds to the body of an envelope.
func packItem(it item) ([]byte, error) {
	var c codec
	out := &raftv1.Item{By: string(it.by), Reason: it.reason, RequestId: string(it.requestID)}
	out.Changes = list(it.changes, c.packChange)
	if c.err != nil {
		return nil, fmt.Errorf("cannot encode decision: %w", c.err)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("cannot encode decision: %w", err)
	}
	return b, nil
}

// pack encodes an entry of packed items. It fails with ErrTooLarge beyond 512 KiB compressed or 16 MiB before.
func (p *packer) pack(base policy.Index, at time.Time, items [][]byte) ([]byte, error) {
	var body []byte
	for _, it := range items { // a Batch, by hand: each item is already encoded
		body = protowire.AppendTag(body, 1, protowire.BytesType)
		body = protowire.AppendBytes(body, it)
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("cannot encode entry of %d KiB, the limit before compression is %d KiB: %w",
			len(body)>>10, maxBody>>10, ErrTooLarge)
	}
	e := &raftv1.Envelope{
		Type: raftv1.EnvelopeType_ENVELOPE_TYPE_BATCH, Level: LevelMax, Base: uint64(base), At: stamp(at),
		Compression: raftv1.Compression_COMPRESSION_NONE, Body: body,
	}
	if len(body) > compressAbove {
		e.Compression = raftv1.Compression_COMPRESSION_ZSTD
		e.Body = p.enc.EncodeAll(body, nil)
	}
	if len(e.GetBody()) > maxEntry {
		return nil, fmt.Errorf("cannot encode entry of %d KiB compressed, the limit is %d KiB: %w",
			len(e.GetBody())>>10, maxEntry>>10, ErrTooLarge)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("cannot encode entry: %w", err)
	}
	return b, nil
}

// unpack decodes an entry. Whatever it does not know, or would not have written itself, is an error.
func (p *packer) unpack(b []byte) (envelope, error) {
	var e raftv1.Envelope
	if err := parse(b, &e); err != nil {
		return envelope{}, err
	}
	if e.GetType() != raftv1.EnvelopeType_ENVELOPE_TYPE_BATCH {
		return envelope{}, fmt.Errorf("cannot use entry of type %d: %w", e.GetType(), ErrUnknownRecord)
	}
	if e.GetLevel() == 0 || e.GetLevel() > LevelMax {
		return envelope{}, fmt.Errorf("cannot use entry of level %d, this version knows up to %d: %w", e.GetLevel(), LevelMax, ErrUnknownRecord)
	}
	body, err := p.body(&e)
	if err != nil {
		return envelope{}, err
	}
	var batch raftv1.Batch
	if err := parse(body, &batch); err != nil {
		return envelope{}, err
	}
	var c codec
	out := envelope{level: e.GetLevel(), base: policy.Index(e.GetBase()), at: c.time(e.GetAt())}
	out.items = list(batch.GetItems(), func(it *raftv1.Item) item {
		return item{
			by: policy.Principal(it.GetBy()), reason: it.GetReason(), requestID: policy.RequestID(it.GetRequestId()),
			changes: list(it.GetChanges(), c.change),
		}
	})
	if err := keepRaw(body, out.items); err != nil {
		return envelope{}, err
	}
	return out, c.err
}

// keepRaw finds the octets of each item in the body of a Batch.
func keepRaw(body []byte, items []item) error {
	for i := range items {
		_, _, tag := protowire.ConsumeTag(body)
		if tag < 0 {
			return fmt.Errorf("cannot find item %d of %d in its entry: %w", i+1, len(items), ErrCorrupt)
		}
		raw, n := protowire.ConsumeBytes(body[tag:])
		if n < 0 {
			return fmt.Errorf("cannot find item %d of %d in its entry: %w", i+1, len(items), ErrCorrupt)
		}
		items[i].raw, body = raw, body[tag+n:]
	}
	return nil
}

func (p *packer) body(e *raftv1.Envelope) ([]byte, error) {
	switch e.GetCompression() {
	case raftv1.Compression_COMPRESSION_NONE:
		return e.GetBody(), nil
	case raftv1.Compression_COMPRESSION_ZSTD:
		body, err := p.dec.DecodeAll(e.GetBody(), nil)
		if errors.Is(err, zstd.ErrDecoderSizeExceeded) || len(body) > maxBody {
			return nil, fmt.Errorf("cannot decompress entry, the limit is %d: %w", maxBody, ErrTooLarge)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot decompress entry: %w: %w", ErrCorrupt, err)
		}
		return body, nil
	default:
		return nil, fmt.Errorf("cannot use entry of compression %d: %w", e.GetCompression(), ErrUnknownRecord)
	}
}

func (c *codec) packChange(ch policy.Change) *raftv1.Change {
	switch ch := ch.(type) {
	case *policy.PutDocument:
		return &raftv1.Change{Change: &raftv1.Change_PutDocument{PutDocument: &raftv1.PutDocument{
			Document: c.packDocument(ch.Document),
		}}}
	case *policy.DeleteDocument:
		return &raftv1.Change{Change: &raftv1.Change_DeleteDocument{DeleteDocument: &raftv1.DeleteDocument{
			Kind: wordToEnum[raftv1.DocumentKind](c, ch.Ref.Kind, documentKinds(), "document kind"), Name: ch.Ref.Name,
		}}}
	case *policy.PutMitigation:
		return &raftv1.Change{Change: &raftv1.Change_PutMitigation{PutMitigation: &raftv1.PutMitigation{
			Mitigation: c.packMitigation(ch.Mitigation),
		}}}
	case *policy.EndMitigation:
		return &raftv1.Change{Change: &raftv1.Change_EndMitigation{EndMitigation: &raftv1.EndMitigation{
			Id: uint64(ch.ID), Cause: wordToEnum[raftv1.EndCause](c, ch.Cause, endCauses(), "end"), By: string(ch.By), Note: ch.Note,
		}}}
	case *policy.PutAttack:
		return &raftv1.Change{Change: &raftv1.Change_PutAttack{PutAttack: &raftv1.PutAttack{Attack: c.packAttack(ch.Attack)}}}
	case *policy.PutResult:
		return &raftv1.Change{Change: &raftv1.Change_PutResult{PutResult: &raftv1.PutResult{Result: c.packResult(ch.Result)}}}
	case *policy.BeginAudit:
		return &raftv1.Change{Change: &raftv1.Change_BeginAudit{BeginAudit: &raftv1.BeginAudit{}}}
	case *policy.PutOrder:
		return &raftv1.Change{Change: &raftv1.Change_PutOrder{PutOrder: &raftv1.PutOrder{Order: c.packOrder(ch.Order)}}}
	case *policy.PutLease:
		return &raftv1.Change{Change: &raftv1.Change_PutLease{PutLease: &raftv1.PutLease{}}}
	}
	if out := packHold(ch); out != nil {
		return out
	}
	if out := packToken(ch); out != nil {
		return out
	}
	c.unknown("change of type", fmt.Sprintf("%T", ch))
	return nil
}

func (c *codec) change(ch *raftv1.Change) policy.Change {
	switch ch := ch.GetChange().(type) {
	case *raftv1.Change_PutDocument:
		return &policy.PutDocument{Document: c.document(ch.PutDocument.GetDocument())}
	case *raftv1.Change_DeleteDocument:
		return &policy.DeleteDocument{Ref: policy.DocumentRef{
			Kind: enumToWord(c, ch.DeleteDocument.GetKind(), documentKinds(), "document kind"),
			Name: ch.DeleteDocument.GetName(),
		}}
	case *raftv1.Change_PutMitigation:
		return &policy.PutMitigation{Mitigation: c.mitigation(ch.PutMitigation.GetMitigation())}
	case *raftv1.Change_EndMitigation:
		end := ch.EndMitigation
		return &policy.EndMitigation{
			ID: policy.MitigationID(end.GetId()), Cause: enumToWord(c, end.GetCause(), endCauses(), "end"),
			By: policy.Principal(end.GetBy()), Note: end.GetNote(),
		}
	case *raftv1.Change_PutAttack:
		return &policy.PutAttack{Attack: c.attack(ch.PutAttack.GetAttack())}
	case *raftv1.Change_PutResult:
		return &policy.PutResult{Result: c.result(ch.PutResult.GetResult())}
	case *raftv1.Change_BeginAudit:
		return &policy.BeginAudit{}
	case *raftv1.Change_PutOrder:
		return &policy.PutOrder{Order: c.order(ch.PutOrder.GetOrder())}
	case *raftv1.Change_PutLease:
		return &policy.PutLease{}
	}
	if out := c.hold(ch); out != nil {
		return out
	}
	if out := c.token(ch); out != nil {
		return out
	}
	c.unknown("change", "without a kind")
	return nil
}
