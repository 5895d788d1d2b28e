/* Loops over the bytes of parameter groups, in one pass each: see kernels.py.
 *
 * Whatever a buffer holds is allowed; lengths are checked before anything is read or written. Numbers are little-endian
 * and need no alignment.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <float.h>
#include <stdint.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "for little-endian machines only"
#endif

/* NumPy rounds each float to its 32 bits. (16 says that of half floats, too.) */
#if FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16
#error "for machines that compute in the precision of the operands only"
#endif

/* Code for newer processors beside that for all of them, where the linker can choose when the program starts. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

/* Elements that are worked on at once, so few that they stay in the nearest cache. */
enum { STEP = 512, MOST_BUFFERS = 9 };

typedef struct {
    Py_buffer views[MOST_BUFFERS];
    int count;
} Buffers;

static void release(Buffers *buffers)
{
    while (buffers->count > 0)
        PyBuffer_Release(&buffers->views[--buffers->count]);
}

/* Take the buffer of one more object; its bytes, or NULL with an exception. */
static char *take(Buffers *buffers, PyObject *object, int flags)
{
    Py_buffer *view = &buffers->views[buffers->count];
    if (PyObject_GetBuffer(object, view, flags) < 0)
        return NULL;
    buffers->count++;
    return view->buf;
}

/* Take two buffers to read and one to write; 0 with an exception, and none of them, if that fails. */
static int take_three(Buffers *buffers, PyObject *one, PyObject *other, PyObject *target)
{
    if (take(buffers, one, PyBUF_SIMPLE) != NULL && take(buffers, other, PyBUF_SIMPLE) != NULL &&
        take(buffers, target, PyBUF_WRITABLE) != NULL)
        return 1;
    release(buffers);
    return 0;
}

static Py_ssize_t nbytes(const Buffers *buffers, int number)
{
    return buffers->views[number].len;
}

static PyObject *wrong(Buffers *buffers, const char *what)
{
    release(buffers);
    PyErr_SetString(PyExc_ValueError, what);
    return NULL;
}

static Py_ssize_t least(Py_ssize_t one, Py_ssize_t other)
{
    return one < other ? one : other;
}

/* --- planes --------------------------------------------------------------------------------------------------------- */

FOR_EACH_PROCESSOR
static void join2(const uint8_t *low, const uint8_t *high, uint8_t *out, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        uint16_t word = (uint16_t)(low[i] | high[i] << 8);
        memcpy(out + 2 * i, &word, 2);
    }
}

FOR_EACH_PROCESSOR
static void join4(const uint8_t *a, const uint8_t *b, const uint8_t *c, const uint8_t *d, uint8_t *out, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        uint32_t word = (uint32_t)a[i] | (uint32_t)b[i] << 8 | (uint32_t)c[i] << 16 | (uint32_t)d[i] << 24;
        memcpy(out + 4 * i, &word, 4);
    }
}

static void join8(const uint8_t *const *planes, uint8_t *out, Py_ssize_t count)
{
    uint8_t low[4 * STEP], high[4 * STEP];
    for (Py_ssize_t start = 0; start < count; start += STEP) {
        Py_ssize_t size = least(STEP, count - start);
        join4(planes[0] + start, planes[1] + start, planes[2] + start, planes[3] + start, low, size);
        join4(planes[4] + start, planes[5] + start, planes[6] + start, planes[7] + start, high, size);
        for (Py_ssize_t i = 0; i < size; i++) {
            memcpy(out + 8 * (start + i), low + 4 * i, 4);
            memcpy(out + 8 * (start + i) + 4, high + 4 * i, 4);
        }
    }
}

static PyObject *join(PyObject *module, PyObject *args)
{
    PyObject *sequence, *target;
    (void)module;
    if (!PyArg_ParseTuple(args, "O!O", &PyTuple_Type, &sequence, &target))
        return NULL;
    Py_ssize_t itemsize = PyTuple_Size(sequence);
    Buffers buffers = {.count = 0};
    if (itemsize != 2 && itemsize != 4 && itemsize != 8)
        return wrong(&buffers, "there are not 2, 4 or 8 planes");
    char *out = take(&buffers, target, PyBUF_WRITABLE);
    if (out == NULL)
        return NULL;
    Py_ssize_t count = nbytes(&buffers, 0) / itemsize;
    const uint8_t *planes[8];
    for (int plane = 0; plane < itemsize; plane++) {
        planes[plane] = (const uint8_t *)take(&buffers, PyTuple_GetItem(sequence, plane), PyBUF_SIMPLE);
        if (planes[plane] == NULL) {
            release(&buffers);
            return NULL;
        }
        if (nbytes(&buffers, plane + 1) != count || count * itemsize != nbytes(&buffers, 0))
            return wrong(&buffers, "the planes do not fill the rows");
    }
    Py_BEGIN_ALLOW_THREADS
    if (itemsize == 2)
        join2(planes[0], planes[1], (uint8_t *)out, count);
    else if (itemsize == 4)
        join4(planes[0], planes[1], planes[2], planes[3], (uint8_t *)out, count);
    else
        join8(planes, (uint8_t *)out, count);
    Py_END_ALLOW_THREADS
    release(&buffers);
    Py_RETURN_NONE;
}

#define DEFINE_SPLIT(BITS)                                                                                               \
    FOR_EACH_PROCESSOR                                                                                                   \
    static void split##BITS(const char *rows, int plane, uint8_t *out, Py_ssize_t count)                                 \
    {                                                                                                                    \
        for (Py_ssize_t i = 0; i < count; i++) {                                                                         \
            uint##BITS##_t word;                                                                                         \
            memcpy(&word, rows + BITS / 8 * i, BITS / 8);                                                                \
            out[i] = (uint8_t)(word >> (8 * plane));                                                                     \
        }                                                                                                                \
    }

DEFINE_SPLIT(16)
DEFINE_SPLIT(32)
DEFINE_SPLIT(64)

static PyObject *split(PyObject *module, PyObject *args)
{
    PyObject *source, *target;
    int itemsize, plane;
    (void)module;
    if (!PyArg_ParseTuple(args, "OiiO", &source, &itemsize, &plane, &target))
        return NULL;
    Buffers buffers = {.count = 0};
    const char *rows = take(&buffers, source, PyBUF_SIMPLE);
    char *out = rows == NULL ? NULL : take(&buffers, target, PyBUF_WRITABLE);
    if (out == NULL) {
        release(&buffers);
        return NULL;
    }
    Py_ssize_t count = nbytes(&buffers, 1);
    if ((itemsize != 2 && itemsize != 4 && itemsize != 8) || plane < 0 || plane >= itemsize)
        return wrong(&buffers, "there is no such plane");
    if (nbytes(&buffers, 0) % itemsize || nbytes(&buffers, 0) / itemsize != count)
        return wrong(&buffers, "the plane does not fit the rows");
    Py_BEGIN_ALLOW_THREADS
    if (itemsize == 2)
        split16(rows, plane, (uint8_t *)out, count);
    else if (itemsize == 4)
        split32(rows, plane, (uint8_t *)out, count);
    else
        split64(rows, plane, (uint8_t *)out, count);
    Py_END_ALLOW_THREADS
    release(&buffers);
    Py_RETURN_NONE;
}

/* --- words: see updates/words.py for what the numbers are --------------------------------------------------------------- */

/* All bits where the sign of a number is set, else none. */
#define SIGN(BITS, number) ((uint##BITS##_t)(0 - ((number) >> (BITS - 1))))
#define ORDERED(BITS, number, mask) ((uint##BITS##_t)((number) ^ (SIGN(BITS, number) & (mask))))
#define DECODED(BITS, code) ((uint##BITS##_t)((code) >> 1 ^ (uint##BITS##_t)(0 - ((code) & 1))))
#define MASK(BITS, is_float) ((is_float) ? (uint##BITS##_t)(UINT##BITS##_MAX >> 1) : (uint##BITS##_t)0)

/* Parts are copied before they are worked on, so that `out` may be the base, and the compiler sees that nothing overlaps. */
#define DEFINE_WORDS(BITS)                                                                                               \
    FOR_EACH_PROCESSOR                                                                                                   \
    static void add##BITS(const char *base, const char *codes, char *out, Py_ssize_t count, int is_float)                \
    {                                                                                                                    \
        const uint##BITS##_t mask = MASK(BITS, is_float);                                                                \
        uint##BITS##_t old[STEP], code[STEP];                                                                            \
        for (Py_ssize_t start = 0; start < count; start += STEP) {                                                       \
            size_t size = (size_t)least(STEP, count - start), place = (size_t)start * sizeof *old;                       \
            memcpy(old, base + place, size * sizeof *old);                                                               \
            memcpy(code, codes + place, size * sizeof *old);                                                             \
            for (size_t i = 0; i < size; i++) {                                                                          \
                uint##BITS##_t sum = (uint##BITS##_t)(ORDERED(BITS, old[i], mask) + DECODED(BITS, code[i]));             \
                old[i] = ORDERED(BITS, sum, mask);                                                                       \
            }                                                                                                            \
            memcpy(out + place, old, size * sizeof *old);                                                                \
        }                                                                                                                \
    }                                                                                                                    \
    FOR_EACH_PROCESSOR                                                                                                   \
    static int difference##BITS(const char *now, const char *base, char *out, Py_ssize_t count, int is_float)            \
    {                                                                                                                    \
        const uint##BITS##_t mask = MASK(BITS, is_float);                                                                \
        uint##BITS##_t after[STEP], before[STEP], wrong = 0;                                                             \
        for (Py_ssize_t start = 0; start < count; start += STEP) {                                                       \
            size_t size = (size_t)least(STEP, count - start), place = (size_t)start * sizeof *after;                     \
            memcpy(after, now + place, size * sizeof *after);                                                            \
            memcpy(before, base + place, size * sizeof *after);                                                          \
            for (size_t i = 0; i < size; i++) {                                                                          \
                uint##BITS##_t aim = ORDERED(BITS, after[i], mask), start_at = ORDERED(BITS, before[i], mask);           \
                uint##BITS##_t apart = (uint##BITS##_t)(aim - start_at);                                                 \
                uint##BITS##_t code = (uint##BITS##_t)((uint##BITS##_t)(apart << 1) ^ SIGN(BITS, apart));                \
                wrong |= (uint##BITS##_t)(aim ^ (uint##BITS##_t)(start_at + DECODED(BITS, code)));                       \
                after[i] = code;                                                                                         \
            }                                                                                                            \
            memcpy(out + place, after, size * sizeof *after);                                                            \
        }                                                                                                                \
        return !wrong;                                                                                                   \
    }

DEFINE_WORDS(8)
DEFINE_WORDS(16)
DEFINE_WORDS(32)
DEFINE_WORDS(64)

static int is_word(int size)
{
    return size == 1 || size == 2 || size == 4 || size == 8;
}

/* The arguments (one, other, size, is_float, out) of a function on words; the number of words, or -1 with an exception. */
static Py_ssize_t take_words(PyObject *args, Buffers *buffers, int *size, int *is_float)
{
    PyObject *one, *other, *target;
    if (!PyArg_ParseTuple(args, "OOipO", &one, &other, size, is_float, &target))
        return -1;
    if (!take_three(buffers, one, other, target))
        return -1;
    if (!is_word(*size)) {
        wrong(buffers, "there are no words of that size");
        return -1;
    }
    Py_ssize_t length = nbytes(buffers, 0);
    if (length % *size || nbytes(buffers, 1) != length || nbytes(buffers, 2) != length) {
        wrong(buffers, "the words are not as many as the others");
        return -1;
    }
    return length / *size;
}

static PyObject *add(PyObject *module, PyObject *args)
{
    Buffers buffers = {.count = 0};
    int size, is_float;
    (void)module;
    Py_ssize_t count = take_words(args, &buffers, &size, &is_float);
    if (count < 0)
        return NULL;
    const char *base = buffers.views[0].buf, *codes = buffers.views[1].buf;
    char *out = buffers.views[2].buf;
    Py_BEGIN_ALLOW_THREADS
    if (size == 1)
        add8(base, codes, out, count, is_float);
    else if (size == 2)
        add16(base, codes, out, count, is_float);
    else if (size == 4)
        add32(base, codes, out, count, is_float);
    else
        add64(base, codes, out, count, is_float);
    Py_END_ALLOW_THREADS
    release(&buffers);
    Py_RETURN_NONE;
}

static PyObject *difference(PyObject *module, PyObject *args)
{
    Buffers buffers = {.count = 0};
    int size, is_float, is_right;
    (void)module;
    Py_ssize_t count = take_words(args, &buffers, &size, &is_float);
    if (count < 0)
        return NULL;
    const char *now = buffers.views[0].buf, *base = buffers.views[1].buf;
    char *out = buffers.views[2].buf;
    Py_BEGIN_ALLOW_THREADS
    if (size == 1)
        is_right = difference8(now, base, out, count, is_float);
    else if (size == 2)
        is_right = difference16(now, base, out, count, is_float);
    else if (size == 4)
        is_right = difference32(now, base, out, count, is_float);
    else
        is_right = difference64(now, base, out, count, is_float);
    Py_END_ALLOW_THREADS
    release(&buffers);
    return PyBool_FromLong(is_right);
}

/* --- sparse updates: see updates/sparse.py ----------------------------------------------------------------------------- */

/* A row of a sparse update: the unchanged words before a changed one, then its code. */
enum { GAP = 4 };

static void locate(const char *rows, size_t width, char *out, Py_ssize_t count)
{
    int64_t place = -1;
    for (Py_ssize_t i = 0; i < count; i++) {
        uint32_t gap;
        memcpy(&gap, rows + (size_t)i * width, GAP);
        place += (int64_t)gap + 1;
        memcpy(out + (size_t)i * sizeof place, &place, sizeof place);
    }
}

static PyObject *places(PyObject *module, PyObject *args)
{
    PyObject *source, *target;
    int size;
    (void)module;
    if (!PyArg_ParseTuple(args, "OiO", &source, &size, &target))
        return NULL;
    Buffers buffers = {.count = 0};
    const char *rows = take(&buffers, source, PyBUF_SIMPLE);
    char *out = rows == NULL ? NULL : take(&buffers, target, PyBUF_WRITABLE);
    if (out == NULL) {
        release(&buffers);
        return NULL;
    }
    if (!is_word(size))
        return wrong(&buffers, "there are no words of that size");
    Py_ssize_t width = GAP + size, count = nbytes(&buffers, 0) / width;
    if (nbytes(&buffers, 0) % width || nbytes(&buffers, 1) != count * (Py_ssize_t)sizeof(int64_t))
        return wrong(&buffers, "the places are not as many as the rows");
    Py_BEGIN_ALLOW_THREADS
    locate(rows, (size_t)width, out, count);
    Py_END_ALLOW_THREADS
    release(&buffers);
    Py_RETURN_NONE;
}

#define DEFINE_CHANGE(BITS)                                                                                              \
    static void change##BITS(const char *places, const char *rows, int64_t start, int is_float, char *out,               \
                             Py_ssize_t count)                                                                           \
    {                                                                                                                    \
        const uint##BITS##_t mask = MASK(BITS, is_float);                                                                \
        for (Py_ssize_t i = 0; i < count; i++) {                                                                         \
            int64_t place;                                                                                               \
            uint##BITS##_t old, code;                                                                                    \
            memcpy(&place, places + (size_t)i * sizeof place, sizeof place);                                             \
            memcpy(&code, rows + (size_t)i * (GAP + sizeof code) + GAP, sizeof code);                                    \
            char *word = out + (size_t)(place - start) * sizeof old;                                                     \
            memcpy(&old, word, sizeof old);                                                                              \
            uint##BITS##_t sum = (uint##BITS##_t)(ORDERED(BITS, old, mask) + DECODED(BITS, code));                       \
            old = ORDERED(BITS, sum, mask);                                                                              \
            memcpy(word, &old, sizeof old);                                                                              \
        }                                                                                                                \
    }

DEFINE_CHANGE(8)
DEFINE_CHANGE(16)
DEFINE_CHANGE(32)
DEFINE_CHANGE(64)

/* Whether all places lie among so many words from start on. */
static int are_within(const char *places, int64_t start, int64_t words, Py_ssize_t count)
{
    int is_within = 1;
    for (Py_ssize_t i = 0; i < count; i++) {
        int64_t place;
        memcpy(&place, places + (size_t)i * sizeof place, sizeof place);
        is_within &= (uint64_t)place - (uint64_t)start < (uint64_t)words;
    }
    return is_within;
}

static PyObject *change(PyObject *module, PyObject *args)
{
    PyObject *where, *source, *target;
    long long start;
    int size, is_float;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOLipO", &where, &source, &start, &size, &is_float, &target))
        return NULL;
    Buffers buffers = {.count = 0};
    if (!take_three(&buffers, where, source, target))
        return NULL;
    const char *positions = buffers.views[0].buf, *rows = buffers.views[1].buf;
    char *out = buffers.views[2].buf;
    Py_ssize_t count = nbytes(&buffers, 0) / (Py_ssize_t)sizeof(int64_t);
    if (!is_word(size))
        return wrong(&buffers, "there are no words of that size");
    if (nbytes(&buffers, 0) % (Py_ssize_t)sizeof(int64_t) || nbytes(&buffers, 1) != count * (GAP + size))
        return wrong(&buffers, "the places are not as many as the rows");
    if (start < 0 || !are_within(positions, start, nbytes(&buffers, 2) / size, count))
        return wrong(&buffers, "a place is not among the words");
    Py_BEGIN_ALLOW_THREADS
    if (size == 1)
        change8(positions, rows, start, is_float, out, count);
    else if (size == 2)
        change16(positions, rows, start, is_float, out, count);
    else if (size == 4)
        change32(positions, rows, start, is_float, out, count);
    else
        change64(positions, rows, start, is_float, out, count);
    Py_END_ALLOW_THREADS
    release(&buffers);
    Py_RETURN_NONE;
}

/* --- means: see updates/linear.py ------------------------------------------------------------------------------------- */

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

/* 1 for infinities and NaNs, and for what is smaller than the smallest normal number and not 0. */
#define IS_ODD(bits) ((((bits) & 0x7f800000u) == 0x7f800000u) | ((((bits) & 0x7f800000u) == 0) & (((bits) & 0x7fffffu) != 0)))

FOR_EACH_PROCESSOR
static int mean32(const char *one, const char *other, float weight, char *out, Py_ssize_t count)
{
    uint32_t a[STEP], b[STEP], odd = 0;
    for (Py_ssize_t start = 0; start < count; start += STEP) {
        size_t size = (size_t)least(STEP, count - start), place = (size_t)start * 4;
        memcpy(a, one + place, size * 4);
        memcpy(b, other + place, size * 4);
        for (size_t i = 0; i < size; i++) {
            uint32_t bits = bits_of((float_of(a[i]) + float_of(b[i])) * weight);
            odd |= IS_ODD(bits);
            a[i] = bits;
        }
        memcpy(out + place, a, size * 4);
    }
    return !odd;
}

FOR_EACH_PROCESSOR
static int mean_bfloat16(const char *one, const char *other, float weight, char *out, Py_ssize_t count)
{
    uint16_t a[STEP], b[STEP];
    uint32_t odd = 0;
    for (Py_ssize_t start = 0; start < count; start += STEP) {
        size_t size = (size_t)least(STEP, count - start), place = (size_t)start * 2;
        memcpy(a, one + place, size * 2);
        memcpy(b, other + place, size * 2);
        for (size_t i = 0; i < size; i++) {
            uint32_t bits = bits_of((float_of((uint32_t)a[i] << 16) + float_of((uint32_t)b[i] << 16)) * weight);
            odd |= IS_ODD(bits);
            a[i] = (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
        }
        memcpy(out + place, a, size * 2);
    }
    return !odd;
}

static PyObject *mean(PyObject *module, PyObject *args)
{
    PyObject *one, *other, *target;
    float weight;
    int size, is_right;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOfiO", &one, &other, &weight, &size, &target))
        return NULL;
    Buffers buffers = {.count = 0};
    if (!take_three(&buffers, one, other, target))
        return NULL;
    const char *first = buffers.views[0].buf, *second = buffers.views[1].buf;
    char *out = buffers.views[2].buf;
    Py_ssize_t length = nbytes(&buffers, 0);
    if (size != 2 && size != 4)
        return wrong(&buffers, "there are no floats of that size");
    if (length % size || nbytes(&buffers, 1) != length || nbytes(&buffers, 2) != length)
        return wrong(&buffers, "the values are not as many as the others");
    Py_BEGIN_ALLOW_THREADS
    is_right = (size == 2 ? mean_bfloat16 : mean32)(first, second, weight, out, length / size);
    Py_END_ALLOW_THREADS
    release(&buffers);
    return PyBool_FromLong(is_right);
}

/* --- products: see updates/low_rank.py -------------------------------------------------------------------------------- */

/* Up to STEP elements of a row of the product. */
FOR_EACH_PROCESSOR
static void multiply(const float *left, const float *right, Py_ssize_t rank, Py_ssize_t columns, float *out, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = left[0] * right[i];
    for (Py_ssize_t k = 1; k < rank; k++) {
        const float factor = left[k], *row = right + (size_t)k * (size_t)columns;
        for (size_t i = 0; i < count; i++)
            out[i] += factor * row[i];
    }
}

/* The sums of values and others, rounded; every NaN is the one quiet NaN. */
FOR_EACH_PROCESSOR
static void add_rounded(const char *values, const float *others, int size, char *out, size_t count)
{
    if (size == 4) {
        uint32_t bits[STEP];
        memcpy(bits, values, count * 4);
        for (size_t i = 0; i < count; i++) {
            float sum = float_of(bits[i]) + others[i];
            bits[i] = sum != sum ? 0x7fc00000u : bits_of(sum);
        }
        memcpy(out, bits, count * 4);
        return;
    }
    uint16_t bits[STEP];
    memcpy(bits, values, count * 2);
    for (size_t i = 0; i < count; i++) {
        float sum = float_of((uint32_t)bits[i] << 16) + others[i];
        uint32_t whole = bits_of(sum);
        uint16_t carried = (uint16_t)((whole + 0x7fffu + (whole >> 16 & 1)) >> 16);
        bits[i] = sum != sum ? 0x7fc0 : carried;
    }
    memcpy(out, bits, count * 2);
}

static void add_product(const char *base, const float *left, const float *right, Py_ssize_t rank, Py_ssize_t columns,
                        Py_ssize_t start, int size, char *out, Py_ssize_t count)
{
    float sums[STEP];
    Py_ssize_t done = 0;
    while (done < count) {
        Py_ssize_t row = (start + done) / columns, column = (start + done) % columns;
        Py_ssize_t length = least(least(STEP, columns - column), count - done);
        size_t place = (size_t)done * (size_t)size;
        multiply(left + (size_t)row * (size_t)rank, right + column, rank, columns, sums, (size_t)length);
        add_rounded(base + place, sums, size, out + place, (size_t)length);
        done += length;
    }
}

static PyObject *product(PyObject *module, PyObject *args)
{
    PyObject *origin, *one, *other, *target;
    Py_ssize_t rank, start;
    int size;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOnniO", &origin, &one, &other, &rank, &start, &size, &target))
        return NULL;
    Buffers buffers = {.count = 0};
    if (!take_three(&buffers, origin, one, target))
        return NULL;
    if (take(&buffers, other, PyBUF_SIMPLE) == NULL) {
        release(&buffers);
        return NULL;
    }
    const char *base = buffers.views[0].buf, *left = buffers.views[1].buf, *right = buffers.views[3].buf;
    char *out = buffers.views[2].buf;
    if (size != 2 && size != 4)
        return wrong(&buffers, "there are no floats of that size");
    const Py_ssize_t length = nbytes(&buffers, 0), element = (Py_ssize_t)sizeof(float);
    if (length % size || nbytes(&buffers, 2) != length)
        return wrong(&buffers, "the values are not as many as the others");
    if (rank < 1 || rank > PY_SSIZE_T_MAX / element || nbytes(&buffers, 1) % (rank * element) ||
        nbytes(&buffers, 3) % (rank * element))
        return wrong(&buffers, "the factors have another rank");
    if ((uintptr_t)left % sizeof(float) || (uintptr_t)right % sizeof(float))
        return wrong(&buffers, "the factors are not aligned");
    const Py_ssize_t rows = nbytes(&buffers, 1) / (rank * element), columns = nbytes(&buffers, 3) / (rank * element);
    if (start < 0 || (length && (columns < 1 || start > PY_SSIZE_T_MAX - length ||
                                 (start + length / size - 1) / columns >= rows)))
        return wrong(&buffers, "the product has no such elements");
    Py_BEGIN_ALLOW_THREADS
    add_product(base, (const float *)(const void *)left, (const float *)(const void *)right, rank, columns, start, size,
                out, length / size);
    Py_END_ALLOW_THREADS
    release(&buffers);
    Py_RETURN_NONE;
}

/* --- merges: see merges/elections.py and merges/selection.py ----------------------------------------------------------- */

FOR_EACH_PROCESSOR
static int finite16(const char *values, Py_ssize_t count)
{
    uint16_t largest = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        uint16_t bits;
        memcpy(&bits, values + 2 * i, 2);
        bits &= 0x7f80u;
        largest = bits > largest ? bits : largest;
    }
    return largest != 0x7f80u;
}

FOR_EACH_PROCESSOR
static int finite32(const char *values, Py_ssize_t count)
{
    uint32_t largest = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, values + 4 * i, 4);
        bits &= 0x7f800000u;
        largest = bits > largest ? bits : largest;
    }
    return largest != 0x7f800000u;
}

static PyObject *are_finite(PyObject *module, PyObject *args)
{
    PyObject *source;
    int size, is_finite;
    (void)module;
    if (!PyArg_ParseTuple(args, "Oi", &source, &size))
        return NULL;
    Buffers buffers = {.count = 0};
    const char *values = take(&buffers, source, PyBUF_SIMPLE);
    if (values == NULL)
        return NULL;
    if ((size != 2 && size != 4) || nbytes(&buffers, 0) % size)
        return wrong(&buffers, "these are no floats of that size");
    Py_BEGIN_ALLOW_THREADS
    is_finite = (size == 2 ? finite16 : finite32)(values, nbytes(&buffers, 0) / size);
    Py_END_ALLOW_THREADS
    release(&buffers);
    return PyBool_FromLong(is_finite);
}

/* Up to STEP bfloat16 (size 2) or float32 numbers as float32. */
static inline void load(const char *values, int size, float *out, size_t count)
{
    if (size == 4) {
        memcpy(out, values, count * 4);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t bits;
        memcpy(&bits, values + 2 * i, 2);
        out[i] = float_of((uint32_t)bits << 16);
    }
}

static inline float magnitude(float value, float base)
{
    return float_of(bits_of(value - base) & 0x7fffffffu);
}

FOR_EACH_PROCESSOR
static void magnitudes(const float *values, const float *base, float *out, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = magnitude(values[i], base[i]);
}

/* Those from low to high, each written where the next is to be, which moves on only if this one counts. */
static Py_ssize_t select_between(const char *values, const char *base, int size, float low, float high, char *out,
                                 Py_ssize_t count, Py_ssize_t *above)
{
    float one[STEP], other[STEP], keys[STEP];
    Py_ssize_t found = 0, larger = 0;
    for (Py_ssize_t start = 0; start < count; start += STEP) {
        size_t length = (size_t)least(STEP, count - start), place = (size_t)start * (size_t)size;
        load(values + place, size, one, length);
        load(base + place, size, other, length);
        magnitudes(one, other, keys, length);
        for (size_t i = 0; i < length; i++) {
            memcpy(out + 4 * found, &keys[i], 4);
            larger += keys[i] > high;
            found += (keys[i] >= low) & (keys[i] <= high);
        }
    }
    *above = larger;
    return found;
}

static PyObject *select_magnitudes(PyObject *module, PyObject *args)
{
    PyObject *source, *origin, *target;
    float low, high;
    int size;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOiffO", &source, &origin, &size, &low, &high, &target))
        return NULL;
    Buffers buffers = {.count = 0};
    if (!take_three(&buffers, source, origin, target))
        return NULL;
    const char *values = buffers.views[0].buf, *base = buffers.views[1].buf;
    char *out = buffers.views[2].buf;
    Py_ssize_t length = nbytes(&buffers, 0);
    if ((size != 2 && size != 4) || length % size)
        return wrong(&buffers, "these are no floats of that size");
    if (nbytes(&buffers, 1) != length || nbytes(&buffers, 2) != length / size * 4)
        return wrong(&buffers, "the values are not as many as the others");
    Py_ssize_t above, found;
    Py_BEGIN_ALLOW_THREADS
    found = select_between(values, base, size, low, high, out, length / size, &above);
    Py_END_ALLOW_THREADS
    release(&buffers);
    return Py_BuildValue("nn", above, found);
}

enum { MOST_INPUTS = MOST_BUFFERS - 2 };

typedef struct {
    const char *values;
    double weight;
    float cut;       /* magnitudes above it are kept, */
    Py_ssize_t last; /* and those equal to it up to this position */
} Input;

/* Bits of bfloat16: by way of a float32 whose last bit remembers what was cut off, so that it is as if rounded once. */
static inline uint16_t bfloat16_of(double value)
{
    float nearest = (float)value;
    uint32_t bits = bits_of(nearest);
    bits -= (nearest < 0 ? -(double)nearest : (double)nearest) > (value < 0 ? -value : value);
    bits |= (double)nearest != value;
    uint16_t carried = (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
    return value != value ? 0x7fc0 : carried;
}

/* Up to STEP weighted deltas, thinned out. */
FOR_EACH_PROCESSOR
static void thin(const Input *input, Py_ssize_t start, int size, const float *base, double *out, size_t count)
{
    float values[STEP], keys[STEP];
    load(input->values + (size_t)start * (size_t)size, size, values, count);
    magnitudes(values, base, keys, count);
    const float cut = input->cut;
    const double weight = input->weight;
    const size_t equals = input->last < start ? 0 : (size_t)least((Py_ssize_t)count, input->last - start + 1);
    for (size_t i = 0; i < equals; i++)
        out[i] = ((double)values[i] - (double)base[i]) * (keys[i] >= cut ? 1.0 : 0.0) * weight;
    for (size_t i = equals; i < count; i++)
        out[i] = ((double)values[i] - (double)base[i]) * (keys[i] > cut ? 1.0 : 0.0) * weight;
}

/* The sum of those that point where the sum of all does. */
FOR_EACH_PROCESSOR
static void elect(double rows[][STEP], const Input *inputs, int number, int normalize, double *merged, size_t count)
{
    double sign[STEP], weights[STEP];
    for (size_t i = 0; i < count; i++)
        sign[i] = 0.0;
    for (int row = 0; row < number; row++)
        for (size_t i = 0; i < count; i++)
            sign[i] += rows[row][i];
    for (size_t i = 0; i < count; i++) {
        sign[i] = __builtin_copysign(1.0, sign[i]);
        merged[i] = weights[i] = 0.0;
    }
    for (int row = 0; row < number; row++) {
        const double weight = inputs[row].weight;
        for (size_t i = 0; i < count; i++) {
            double part = rows[row][i] * sign[i];
            merged[i] += part > 0 ? part : 0.0;
            weights[i] += part > 0 ? weight : 0.0;
        }
    }
    for (size_t i = 0; i < count; i++) {
        merged[i] *= sign[i];
        merged[i] /= normalize && weights[i] != 0 ? weights[i] : 1.0;
    }
}

FOR_EACH_PROCESSOR
static void put(const double *merged, const float *base, double factor, int size, char *out, size_t count)
{
    if (size == 4) {
        for (size_t i = 0; i < count; i++) {
            float value = (float)(merged[i] * factor + (double)base[i]);
            memcpy(out + 4 * i, &value, 4);
        }
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t bits = bfloat16_of(merged[i] * factor + (double)base[i]);
        memcpy(out + 2 * i, &bits, 2);
    }
}

static void merge_elected(const Input *inputs, int number, const char *base, int size, int normalize, double factor,
                          char *out, Py_ssize_t count)
{
    double rows[MOST_INPUTS][STEP], merged[STEP];
    float below[STEP];
    for (Py_ssize_t start = 0; start < count; start += STEP) {
        size_t length = (size_t)least(STEP, count - start), place = (size_t)start * (size_t)size;
        load(base + place, size, below, length);
        for (int row = 0; row < number; row++)
            thin(&inputs[row], start, size, below, rows[row], length);
        elect(rows, inputs, number, normalize, merged, length);
        put(merged, below, factor, size, out + place, length);
    }
}

/* An input from its description (values, weight, cut, last); 0 with an exception. */
static int take_input(Buffers *buffers, PyObject *described, Input *input)
{
    PyObject *values;
    if (!PyTuple_Check(described)) {
        PyErr_SetString(PyExc_TypeError, "an input is described by a tuple");
        return 0;
    }
    if (!PyArg_ParseTuple(described, "Odfn", &values, &input->weight, &input->cut, &input->last))
        return 0;
    input->values = take(buffers, values, PyBUF_SIMPLE);
    return input->values != NULL;
}

static PyObject *elected(PyObject *module, PyObject *args)
{
    PyObject *sequence, *origin, *target;
    int size, normalize;
    double factor;
    Input inputs[MOST_INPUTS];
    (void)module;
    if (!PyArg_ParseTuple(args, "O!OipdO", &PyTuple_Type, &sequence, &origin, &size, &normalize, &factor, &target))
        return NULL;
    Buffers buffers = {.count = 0};
    Py_ssize_t number = PyTuple_Size(sequence);
    if (number < 1 || number > MOST_INPUTS)
        return wrong(&buffers, "there are no inputs, or too many");
    if (size != 2 && size != 4)
        return wrong(&buffers, "there are no floats of that size");
    const char *base = take(&buffers, origin, PyBUF_SIMPLE);
    char *out = base == NULL ? NULL : take(&buffers, target, PyBUF_WRITABLE);
    if (out == NULL) {
        release(&buffers);
        return NULL;
    }
    Py_ssize_t length = nbytes(&buffers, 0);
    if (length % size || nbytes(&buffers, 1) != length)
        return wrong(&buffers, "the values are not as many as the others");
    for (int row = 0; row < number; row++) {
        if (!take_input(&buffers, PyTuple_GetItem(sequence, row), &inputs[row])) {
            release(&buffers);
            return NULL;
        }
        if (nbytes(&buffers, row + 2) != length)
            return wrong(&buffers, "the values are not as many as the others");
    }
    Py_BEGIN_ALLOW_THREADS
    merge_elected(inputs, (int)number, base, size, normalize, factor, out, length / size);
    Py_END_ALLOW_THREADS
    release(&buffers);
    Py_RETURN_NONE;
}

/* --- signatures: see lsh.py ------------------------------------------------------------------------------------------- */

#define DEFINE_FOLD(NAME, BITS, SHIFT)                                                                                   \
    FOR_EACH_PROCESSOR                                                                                                   \
    static void NAME(const char *values, const char *signs, int negative, double *sums, Py_ssize_t count)                \
    {                                                                                                                    \
        const uint##BITS##_t turn = (uint##BITS##_t)((uint##BITS##_t)(negative != 0) << (BITS - 1));                     \
        uint##BITS##_t value[STEP], sign[STEP];                                                                          \
        for (Py_ssize_t start = 0; start < count; start += STEP) {                                                       \
            size_t size = (size_t)least(STEP, count - start), place = (size_t)start * sizeof *value;                     \
            memcpy(value, values + place, size * sizeof *value);                                                         \
            memcpy(sign, signs + place, size * sizeof *value);                                                           \
            for (size_t i = 0; i < size; i++) {                                                                          \
                uint##BITS##_t turned = (uint##BITS##_t)(value[i] ^ sign[i] ^ turn);                                     \
                sums[(size_t)start + i] += (double)float_of((uint32_t)turned << SHIFT);                                  \
            }                                                                                                            \
        }                                                                                                                \
    }

DEFINE_FOLD(fold_bfloat16, 16, 16)
DEFINE_FOLD(fold32, 32, 0)

static PyObject *fold(PyObject *module, PyObject *args)
{
    PyObject *source, *flips, *target;
    int size, negative;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOipO", &source, &flips, &size, &negative, &target))
        return NULL;
    Buffers buffers = {.count = 0};
    if (!take_three(&buffers, source, flips, target))
        return NULL;
    const char *values = buffers.views[0].buf, *signs = buffers.views[1].buf;
    char *sums = buffers.views[2].buf;
    Py_ssize_t length = nbytes(&buffers, 0);
    if ((size != 2 && size != 4) || length % size)
        return wrong(&buffers, "these are no floats of that size");
    if (nbytes(&buffers, 1) != length || nbytes(&buffers, 2) != length / size * 8)
        return wrong(&buffers, "the values are not as many as the others");
    if ((uintptr_t)sums % sizeof(double))
        return wrong(&buffers, "the sums are not aligned");
    Py_BEGIN_ALLOW_THREADS
    (size == 2 ? fold_bfloat16 : fold32)(values, signs, negative, (double *)(void *)sums, length / size);
    Py_END_ALLOW_THREADS
    release(&buffers);
    Py_RETURN_NONE;
}

/* --- the module ------------------------------------------------------------------------------------------------------- */

static PyMethodDef methods[] = {
    {"join", join, METH_VARARGS, NULL},
    {"split", split, METH_VARARGS, NULL},
    {"add", add, METH_VARARGS, NULL},
    {"difference", difference, METH_VARARGS, NULL},
    {"places", places, METH_VARARGS, NULL},
    {"change", change, METH_VARARGS, NULL},
    {"mean", mean, METH_VARARGS, NULL},
    {"product", product, METH_VARARGS, NULL},
    {"finite", are_finite, METH_VARARGS, NULL},
    {"select", select_magnitudes, METH_VARARGS, NULL},
    {"elected", elected, METH_VARARGS, NULL},
    {"fold", fold, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* To be raised with each change of what the functions take or do: kernels.py takes no other. */
enum { REVISION = 4 };

static int say_revision(PyObject *module)
{
    return PyModule_AddIntConstant(module, "REVISION", REVISION);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, say_revision}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "git_theta._kernels", .m_size = 0, .m_methods = methods, .m_slots = slots,
};

PyMODINIT_FUNC PyInit__kernels(void)
{
    return PyModuleDef_Init(&definition);
}
