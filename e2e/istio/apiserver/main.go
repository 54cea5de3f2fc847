// Command apiserver is a real kube-apiserver with its etcd in the same process,
// so that a test has one process to start, stop, kill and start again.
//
//	kube-apiserver DIR [flags of kube-apiserver]
//
// etcd keeps its data in DIR and listens on a free loopback port that only this
// process knows of: the flag --etcd-servers is set here. Everything else is
// kube-apiserver's own, and whoever starts it says it.
package main

import (
	"fmt"
	"net/url"
	"os"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

// etcdReady is how long etcd may take: a data folder that a killed server left
// behind is read again first.
const etcdReady = 30 * time.Second

func main() {
	if len(os.Args) < 2 || os.Args[1] == "" || os.Args[1][0] == '-' {
		fmt.Fprintln(os.Stderr, "usage: kube-apiserver DIR [flags]: DIR is where etcd keeps its data")
		os.Exit(2)
	}
	etcd, err := startEtcd(os.Args[1])
	if err != nil {
		fmt.Fprintf(os.Stderr, "etcd in %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
	command := app.NewAPIServerCommand()
	command.SetArgs(append(os.Args[2:], "--etcd-servers=http://"+etcd.Clients[0].Addr().String()))
	code := cli.Run(command)
	etcd.Close()
	os.Exit(code)
}

// startEtcd returns an etcd of one member that answers. Both of its ports are
// whatever the system has free: a lone member talks to no peer.
func startEtcd(folder string) (*embed.Etcd, error) {
	free := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	config := embed.NewConfig()
	config.Dir = folder
	config.LogLevel = "error"
	config.EnableGRPCGateway = false // nobody asks etcd in JSON
	config.UnsafeNoFsync = true      // tests kill the process, never the machine
	config.ListenPeerUrls, config.AdvertisePeerUrls = free, free
	config.ListenClientUrls, config.AdvertiseClientUrls = free, free
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return nil, err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case err := <-etcd.Err():
		return nil, err
	case <-time.After(etcdReady):
		etcd.Close()
		return nil, fmt.Errorf("not ready after %s", etcdReady)
	}
}
