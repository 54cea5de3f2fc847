// Package signing says who made a policy: Ed25519 (RFC 8032) over the policy, the
// route and the namespace that it is for. What signs is the control plane, or
// safestate render for a proxy without one; what verifies is a host that others
// can dial, once per content.
//
//	ring (in the store) ──► signer ──► route metadata ──► Envoy ──► host
//	        └──────────── public keys ──────────────────────────────► keys
//
// All of it is pure but Keys, which is safe for concurrent use. Where the ring is
// kept is package keyring's.
package signing
