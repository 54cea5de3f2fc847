// Package chat knows the shapes of the OpenAI API's chat and legacy
// completions: what a request asks for, how an answer is read, whole or piece
// by piece, how a whole answer becomes the one that was asked for, and how an
// error looks that every client raises.
//
// Sources: the OpenAI API reference (chat completions, legacy completions,
// streaming), the WHATWG specification of server-sent events, the answers of
// vLLM, SGLang, llama.cpp and Azure OpenAI where they differ, and what the
// openai client makes of each.
//
// The package is pure and keeps nothing between calls.
package chat
