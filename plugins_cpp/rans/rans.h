// Interleaved rANS for learned codecs: int16 symbols, uint8 table indexes, 16-bit CDF tables, many passes.
//
// README.md describes the stream. No function throws, aborts, or keeps a pointer that it is given; each
// returns a rans_status. Tables are immutable and may be shared by threads; an encoder or a decoder belongs
// to one thread at a time.
#ifndef RANS_H
#define RANS_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define RANS_API __attribute__((visibility("default")))
#else
#define RANS_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum rans_status {
    RANS_OK = 0,
    RANS_OUT_OF_MEMORY = 1,
    RANS_BAD_TABLES = 2,    // a CDF row that is not complete, not increasing, or does not fit int16 symbols
    RANS_BAD_INDEX = 3,     // an index beyond the number of tables
    RANS_BAD_ARGUMENT = 4,  // a number of lanes that is not a power of two from 1 to 256
    RANS_BAD_CALL = 5,      // a call after finish, or after an error
    RANS_UNSUPPORTED = 6,   // this CPU, or this build, lacks the instruction set asked for
    RANS_CORRUPT = 7,       // the stream is cut, altered, or was written with other tables, indexes or passes
} rans_status;

// The instruction sets for which there is a code path. All write and read the same bytes.
typedef enum rans_isa {
    RANS_ISA_BEST = 0,
    RANS_ISA_SCALAR = 1,
    RANS_ISA_AVX2 = 2,
    RANS_ISA_AVX512 = 3,
    RANS_ISA_NEON = 4,
} rans_isa;

typedef struct rans_tables rans_tables;
typedef struct rans_encoder rans_encoder;
typedef struct rans_decoder rans_decoder;

// RANS_OK when `isa` can run here, else RANS_UNSUPPORTED.
RANS_API rans_status rans_isa_check(rans_isa isa);

// Takes `rows` (1 to 256) CDF rows, `stride` values apart. Row r has lengths[r] values, strictly increasing
// from 0 to 65536; its slot v < lengths[r] - 2 is the symbol offsets[r] + v, its last slot the escape. On
// RANS_BAD_TABLES, *bad_row is the first row that is wrong (or `rows` when their number is).
RANS_API rans_status rans_tables_create(const int32_t* cdfs, size_t stride, const int32_t* lengths,
                                        const int32_t* offsets, size_t rows, rans_tables** out,
                                        size_t* bad_row);
RANS_API void rans_tables_destroy(rans_tables* tables);

// Ideal code length of the symbols: sum of -log2 of the tables' probabilities, and the bits of the escapes.
RANS_API rans_status rans_tables_ideal_bits(const rans_tables* tables, const int16_t* symbols,
                                            const uint8_t* indexes, size_t count, double* bits);

RANS_API rans_status rans_encoder_create(rans_isa isa, rans_encoder** out);
RANS_API void rans_encoder_destroy(rans_encoder* encoder);

// Adds one pass, to be decoded by one call with as many symbols.
RANS_API rans_status rans_encoder_push(rans_encoder* encoder, const rans_tables* tables,
                                       const int16_t* symbols, const uint8_t* indexes, size_t count);

// Ends the stream. `lanes` is 0 (chosen by size) or a power of two from 1 to 256. A short stream has fewer
// lanes than asked for. The bytes belong to the encoder.
RANS_API rans_status rans_encoder_finish(rans_encoder* encoder, unsigned lanes, const uint8_t** data,
                                         size_t* size);

// Copies the stream. RANS_CORRUPT when it cannot be the beginning of one.
RANS_API rans_status rans_decoder_create(const uint8_t* data, size_t size, rans_isa isa, rans_decoder** out);
RANS_API void rans_decoder_destroy(rans_decoder* decoder);

// Decodes one pass. After an error the symbols are undefined, and the decoder only answers RANS_BAD_CALL.
RANS_API rans_status rans_decoder_decode(rans_decoder* decoder, const rans_tables* tables,
                                         const uint8_t* indexes, int16_t* symbols, size_t count);

// RANS_OK when the stream ends exactly here.
RANS_API rans_status rans_decoder_finish(rans_decoder* decoder);

#ifdef __cplusplus
}
#endif

#endif
