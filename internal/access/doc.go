// Package access says who is asking and what that person may do.
//
// A request becomes [Credentials] ([OfRequest], [OfRPC]), those become a
// [Principal] (by a [Gate], which an access file describes, or by [Loopback]
// where there is none), and [Authorize] holds the principal against one [Action]
// on one [Target]. What is not said to be allowed is refused: an action that
// nobody knows, a target that does not go with it, a credential that cannot be
// checked. There are no cookies, and nothing is read from a body or a query.
package access
