// Package audit keeps the record of what was done: a chain of entries for each
// writer (a replica of the control plane), in files of its own, each entry on the
// disk before the action that it tells of is acknowledged. [Open] goes on with a
// chain, [Log.Append] adds to it, [Verify] checks it.
//
// # What a chain proves
//
// Each entry holds the hash of the one before it, its own hash takes that in, and
// the writer's Ed25519 key signs it. So whoever has the entries and knows the key
// can tell that each was written by who has the private key, in this order, with
// nothing changed, left out or put in between: to change one entry takes the
// private key and every entry after it.
//
// An end that is missing cannot be told from the entries. Heads tell it (the
// length and the hash of the chain at a time, signed), and so do joins: replicas
// that see each other in the store write each other's heads into their chains. A
// head is in the chain's own folder, in the store, and with the anchors.
//
// # What it cannot prove
//
//   - Who has the private key can write a chain anew, from any entry on. That is
//     seen where an old head of it was kept by somebody else: an [Anchor], or
//     another replica's chain. Without either it is not seen. Up to the last head
//     that was kept elsewhere the chain holds even then.
//   - Entries after the last head that was kept elsewhere can be cut off by who can
//     write to the folder. An anchor gets a head at the latest some seconds after
//     an entry, the store at once.
//   - It proves that an entry was written, and not that it is true: times are the
//     writer's clock, names of people are what the API's access control found.
//   - It says nothing of what was done around safestate: somebody who writes to the
//     store, or to a proxy's admin port, leaves no entry. What the replicas then do
//     leaves one.
//   - What has fewer entries than the anchor knows of may have lost its disk: a
//     loss and a deletion look alike.
package audit
