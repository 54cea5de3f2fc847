// Package clients asks models through the clients that callers really use, and
// tells what those make of an answer: the openai and tritonclient libraries of
// Python, each in a process of its own that takes calls as lines, and grpc-go.
//
// The Python libraries are those of requirements.txt, which make sets up in
// .cache/clients.
package clients
