// Package view writes what the API answers for people at a terminal: in 80
// columns, without colour, times both as they were and as how long ago, and
// with nothing in it that the terminal would act on, whatever a model, a proxy
// or a person wrote. It is pure.
package view
