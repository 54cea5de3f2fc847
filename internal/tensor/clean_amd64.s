//go:build !purego

#include "textflag.h"

// func cleanBlocks(raw *byte, blocks int, clear, most uint64) int
//
// SSE2 only, which every amd64 processor has. X10 to X13 keep the running
// maxima; they are never reset, because the first block past the bound ends
// the loop.
TEXT ·cleanBlocks(SB), NOSPLIT, $0-40
	MOVQ       raw+0(FP), SI
	MOVQ       blocks+8(FP), CX
	MOVQ       clear+16(FP), X8
	PUNPCKLQDQ X8, X8
	MOVQ       most+24(FP), X9
	PUNPCKLQDQ X9, X9
	PXOR       X10, X10
	PXOR       X11, X11
	PXOR       X12, X12
	PXOR       X13, X13
	XORQ       DX, DX

loop:
	CMPQ DX, CX
	JGE  done
	MOVOU  0(SI), X0
	MOVOU  16(SI), X1
	MOVOU  32(SI), X2
	MOVOU  48(SI), X3
	MOVOU  64(SI), X4
	MOVOU  80(SI), X5
	MOVOU  96(SI), X6
	MOVOU  112(SI), X7
	PAND   X8, X0
	PAND   X8, X1
	PAND   X8, X2
	PAND   X8, X3
	PAND   X8, X4
	PAND   X8, X5
	PAND   X8, X6
	PAND   X8, X7
	PMAXSW X0, X10
	PMAXSW X1, X11
	PMAXSW X2, X12
	PMAXSW X3, X13
	PMAXSW X4, X10
	PMAXSW X5, X11
	PMAXSW X6, X12
	PMAXSW X7, X13
	MOVOU  128(SI), X0
	MOVOU  144(SI), X1
	MOVOU  160(SI), X2
	MOVOU  176(SI), X3
	MOVOU  192(SI), X4
	MOVOU  208(SI), X5
	MOVOU  224(SI), X6
	MOVOU  240(SI), X7
	PAND   X8, X0
	PAND   X8, X1
	PAND   X8, X2
	PAND   X8, X3
	PAND   X8, X4
	PAND   X8, X5
	PAND   X8, X6
	PAND   X8, X7
	PMAXSW X0, X10
	PMAXSW X1, X11
	PMAXSW X2, X12
	PMAXSW X3, X13
	PMAXSW X4, X10
	PMAXSW X5, X11
	PMAXSW X6, X12
	PMAXSW X7, X13
	MOVO     X10, X14
	PMAXSW   X11, X14
	PMAXSW   X12, X14
	PMAXSW   X13, X14
	PCMPGTW  X9, X14
	PMOVMSKB X14, AX
	TESTL    AX, AX
	JNE      done
	ADDQ     $256, SI
	INCQ     DX
	JMP      loop

done:
	MOVQ DX, ret+32(FP)
	RET
