/* Loops over the bytes of parameter groups, in one pass each: see kernels.py.
 *
 * Whatever a buffer holds is allowed; lengths are checked before anything is read or written. Numbers are little-endian
 * and need no alignment.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <stdint.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "for little-endian machines only"
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

/* The arguments (one, other, size, is_float, out) of a function on words; the number of words, or -1 with an exception. */
static Py_ssize_t take_words(PyObject *args, Buffers *buffers, int *size, int *is_float)
{
    PyObject *one, *other, *target;
    if (!PyArg_ParseTuple(args, "OOipO", &one, &other, size, is_float, &target))
        return -1;
    if (take(buffers, one, PyBUF_SIMPLE) == NULL || take(buffers, other, PyBUF_SIMPLE) == NULL ||
        take(buffers, target, PyBUF_WRITABLE) == NULL) {
        release(buffers);
        return -1;
    }
    if (*size != 1 && *size != 2 && *size != 4 && *size != 8) {
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
    const char *first = take(&buffers, one, PyBUF_SIMPLE);
    const char *second = first == NULL ? NULL : take(&buffers, other, PyBUF_SIMPLE);
    char *out = second == NULL ? NULL : take(&buffers, target, PyBUF_WRITABLE);
    if (out == NULL) {
        release(&buffers);
        return NULL;
    }
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

/* --- the module ------------------------------------------------------------------------------------------------------- */

static PyMethodDef methods[] = {
    {"join", join, METH_VARARGS, NULL},
    {"split", split, METH_VARARGS, NULL},
    {"add", add, METH_VARARGS, NULL},
    {"difference", difference, METH_VARARGS, NULL},
    {"mean", mean, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* To be raised with each change of what the functions take or do: kernels.py takes no other. */
enum { REVISION = 1 };

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
