// A peer of yamux-go.test.ts, by hashicorp/yamux: `peer serve`, or `peer open PORT STREAMS BYTES`.
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"

	"github.com/hashicorp/yamux"
)

func check(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	check(err)
	return n
}

// What a stream says first: its name and headers.
func opening(name string) []byte {
	json := []byte(fmt.Sprintf("[%q,{}]", name))
	head := make([]byte, 2)
	binary.BigEndian.PutUint16(head, uint16(len(json)))
	return append(head, json...)
}

// Accepts one connection, and gives back what its streams say after their opening.
func serve() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	conn, err := listener.Accept()
	check(err)
	session, err := yamux.Server(conn, nil)
	check(err)
	for {
		stream, err := session.Accept()
		if err != nil {
			return
		}
		go func() {
			defer stream.Close()
			head := make([]byte, 2)
			if _, err := io.ReadFull(stream, head); err != nil {
				return
			}
			io.CopyN(io.Discard, stream, int64(binary.BigEndian.Uint16(head)))
			io.Copy(stream, stream)
		}()
	}
}

// Opens so many streams at once, and expects what each has said to come back.
func open(port string, streams int, size int) {
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	check(err)
	session, err := yamux.Client(conn, nil)
	check(err)
	begin := make(chan struct{})
	var done sync.WaitGroup
	for n := 0; n < streams; n++ {
		done.Add(1)
		go func(n int) {
			defer done.Done()
			<-begin
			stream, err := session.Open()
			check(err)
			said := bytes.Repeat([]byte{byte(n)}, size)
			go func() {
				_, err := stream.Write(append(opening("echo"), said...))
				check(err)
			}()
			// Not before all has come: in Debian's version, Close() ends the reading side as well.
			heard := make([]byte, size)
			came, err := io.ReadFull(stream, heard)
			if err != nil || !bytes.Equal(said, heard) {
				check(fmt.Errorf("stream %d: %d bytes of %d came back: %v", n, came, size, err))
			}
			check(stream.Close())
		}(n)
	}
	close(begin)
	done.Wait()
	_, err = session.Ping()
	check(err)
	check(session.Close())
	fmt.Println("ok")
}

func main() {
	if os.Args[1] == "serve" {
		serve()
	} else {
		open(os.Args[2], number(os.Args[3]), number(os.Args[4]))
	}
}
