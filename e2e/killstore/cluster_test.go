package killstore

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/porttest"
)

// three is how many members an etcd has here, and how many replicas are before it.
const three = 3

// soon is far beyond what anything here takes on a busy machine.
const soon = 40 * time.Second

// memberVariable has this binary be a member of an etcd: a member, as JSON.
const memberVariable = "SAFESTATE_KILLSTORE_MEMBER"

// member is one of an etcd's, as its process gets it.
type member struct {
	Number  int
	Dir     string
	Client  string // host:port, for who asks it directly
	Peer    string // host:port, where it listens for the others
	Cluster string // name=URL,…: URLs by which they reach each other

	process *dataplane.Process
}

// hostOf is the address at which a member finds another: each way between two has
// one of its own, so that it can be cut alone. All of 127/8 is this machine.
func hostOf(from, to int) string { return fmt.Sprintf("127.0.%d.%d", 100+from, 100+to) }

// cluster is an etcd of three members.
type cluster struct {
	t       testing.TB
	members [three]*member
	ways    [three][three]*link // from one to another; none to itself
	client  *clientv3.Client    // directly, past all links
}

// startCluster starts it, and the links between the members. It ends with the test.
func startCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{t: t}
	dir := t.TempDir()
	var urls, endpoints []string
	var ports [three]int
	for i := range three {
		ports[i] = porttest.Free(t)
		urls = append(urls, fmt.Sprintf("member%d=http://member%d.etcd:%d", i, i, ports[i]))
	}
	for i := range three {
		m := &member{
			Number: i, Dir: filepath.Join(dir, fmt.Sprint(i)), Client: porttest.Address(t), Peer: porttest.Address(t), Cluster: strings.Join(urls, ","),
		}
		c.members[i] = m
		endpoints = append(endpoints, m.Client)
		for from := range three {
			if from != i {
				c.ways[from][i] = newLink(t, fmt.Sprintf("member %d to member %d", from, i), fmt.Sprintf("%s:%d", hostOf(from, i), ports[i]), m.Peer)
			}
		}
	}
	for i := range three {
		c.start(i)
	}
	var err error
	c.client, err = clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop(), DialTimeout: soon})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.client.Close() })
	dataplane.Eventually(t, soon, "etcd answers", func() bool {
		_, err := c.get("/")
		return err == nil
	})
	return c
}

// start starts a member, also again.
func (c *cluster) start(number int) {
	c.t.Helper()
	m := c.members[number]
	text, err := json.Marshal(m)
	if err != nil {
		c.t.Fatal(err)
	}
	m.process = dataplane.SpawnEnv(c.t, fmt.Sprintf("etcd %d", number), []string{memberVariable + "=" + string(text), "NO_PROXY=*"}, os.Args[0])
}

// get reads what is under a prefix. What was written before is seen.
func (c *cluster) get(prefix string) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	return c.client.Get(ctx, prefix, clientv3.WithPrefix())
}

// beMember is the process of a member. It returns only where it cannot be one; it
// is killed in the end.
func beMember(text string) error {
	var m member
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return err
	}
	resolveAs(m.Number)
	wal.SegmentSizeBytes = 1 << 20 // it is reserved at once
	c := embed.NewConfig()
	c.Name, c.Dir = fmt.Sprintf("member%d", m.Number), m.Dir
	c.ListenClientUrls = []url.URL{{Scheme: "http", Host: m.Client}}
	c.AdvertiseClientUrls = c.ListenClientUrls
	c.ListenPeerUrls = []url.URL{{Scheme: "http", Host: m.Peer}}
	for one := range strings.SplitSeq(m.Cluster, ",") {
		if name, at, _ := strings.Cut(one, "="); name == c.Name {
			u, err := url.Parse(at)
			if err != nil {
				return err
			}
			c.AdvertisePeerUrls = []url.URL{*u}
		}
	}
	c.InitialCluster = m.Cluster
	c.TickMs, c.ElectionMs = 50, 500 // many changes of leader in a short time
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	e, err := embed.StartEtcd(c)
	if err != nil {
		return err
	}
	return <-e.Err()
}

// resolveAs has this process find "memberN.etcd" where the way from it to that
// member begins. Etcd has one URL of a member for all the others, and no other
// place to say who dials.
func resolveAs(number int) {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go answerNames(theirs, number)
		return ours, nil
	}}
}

// answerNames is a name server for one question, in the form that DNS has over a
// stream (RFC 1035, 4.1 and 4.2.2).
func answerNames(conn net.Conn, from int) {
	defer func() { _ = conn.Close() }()
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return
	}
	question := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, question); err != nil {
		return
	}
	const header = 12
	var to int
	if _, err := fmt.Sscanf(string(question[header+1:]), "member%d", &to); err != nil || to >= three {
		return
	}
	end := header // of the name: labels, and an empty one
	for question[end] != 0 {
		end += 1 + int(question[end])
	}
	reply := append([]byte(nil), question[:end+5]...)
	binary.BigEndian.PutUint16(reply[2:], 0x8580)         // an answer, authoritative, recursion as asked
	copy(reply[4:header], []byte{0, 1, 0, 0, 0, 0, 0, 0}) // one question
	if binary.BigEndian.Uint16(question[end+1:]) == 1 {   // for an IPv4 address
		reply[7] = 1
		reply = append(reply, 0xc0, header, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		reply = append(reply, net.ParseIP(hostOf(from, to)).To4()...)
	}
	binary.BigEndian.PutUint16(length[:], uint16(len(reply)))
	_, _ = conn.Write(append(length[:], reply...)) // who asked may be gone
}
