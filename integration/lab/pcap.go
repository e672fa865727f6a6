package lab

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Capture is a file in pcap format of one BGP speaker's side of a session, for tools that read captures. Nothing was
// ever on a wire: packets, sequence numbers and times follow from the messages alone.
type Capture struct {
	w   io.Writer
	seq uint32 // of the next octet
	n   uint32 // packets so far
}

// NewCapture writes the head of the file to w: little-endian, microseconds, packets that begin with their IP header
// (LINKTYPE_RAW, draft-ietf-opsawg-pcap).
func NewCapture(w io.Writer) (*Capture, error) {
	const linkRaw = 101
	le := binary.LittleEndian
	head := le.AppendUint32(nil, 0xa1b2c3d4)
	head = le.AppendUint16(le.AppendUint16(head, 2), 4)
	head = le.AppendUint32(le.AppendUint32(head, 0), 0)
	head = le.AppendUint32(le.AppendUint32(head, 65535), linkRaw)
	if _, err := w.Write(head); err != nil {
		return nil, fmt.Errorf("cannot write capture: %w", err)
	}
	return &Capture{w: w, seq: 1}, nil
}

// Update writes one packet that holds one BGP UPDATE with the given path attributes, from 127.0.0.1 to 127.0.0.11,
// port Port (RFC 4271 section 4.3).
func (c *Capture) Update(attributes []byte) error {
	const bgpHead, withdrawn, update = 19, 2, 2
	be := binary.BigEndian
	message := make([]byte, 16, bgpHead+withdrawn+2+len(attributes))
	for i := range message {
		message[i] = 0xff
	}
	message = be.AppendUint16(message, uint16(bgpHead+withdrawn+2+len(attributes)))
	message = append(message, update, 0, 0)
	message = be.AppendUint16(message, uint16(len(attributes)))
	message = append(message, attributes...)

	packet := []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 11} // RFC 791; no checksum
	be.PutUint16(packet[2:], uint16(40+len(message)))
	packet = be.AppendUint16(be.AppendUint16(packet, 40000), Port) // RFC 9293; no checksum
	packet = be.AppendUint32(be.AppendUint32(packet, c.seq), 1)
	packet = append(packet, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0) // 20 octets of header; PSH, ACK; window
	packet = append(packet, message...)
	c.seq += uint32(len(message))
	c.n++

	le := binary.LittleEndian
	record := le.AppendUint32(le.AppendUint32(nil, c.n), 0)
	record = le.AppendUint32(le.AppendUint32(record, uint32(len(packet))), uint32(len(packet)))
	if _, err := c.w.Write(append(record, packet...)); err != nil {
		return fmt.Errorf("cannot write capture: %w", err)
	}
	return nil
}
