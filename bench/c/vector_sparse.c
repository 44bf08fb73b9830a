/* Mini-batch gradient descent in C with GCC's vector extensions: sigmoid layers, softmax, cross-entropy, float32.
 *
 *     gcc -O3 -march=native -shared -fPIC -DSIZES=784,16,16,10 -DBATCH=32 vector_sparse.c -o vector.so
 *
 * Input is a list of the nonzero values of each sample; with -DDENSE it is an array. What was done for speed:
 *
 *     units come in vectors of 16, rows of W are padded and aligned to cache lines, sizes are constants
 *     the first layer costs one multiply-add of a vector per nonzero input, forward and again for the step, which is
 *         added to W without a gradient in between; the lists of samples to come are prefetched
 *     other products are register-blocked: rows of eight, columns of one or two vectors
 *     exp and log are polynomials on a vector; softmax has no branches
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef float V __attribute__((vector_size(64)));
typedef int32_t I __attribute__((vector_size(64)));
#define INLINE static inline __attribute__((always_inline))
#define VECTORS(n) (((n) + 15) / 16)
#define SECOND(...) SECOND_(__VA_ARGS__)
#define SECOND_(first, second, ...) second

static const int sizes[] = {SIZES};
enum { LAYERS = sizeof sizes / sizeof *sizes - 1, ROWS = 8, PADDED = (BATCH + ROWS - 1) / ROWS * ROWS };

typedef struct {
    uint16_t *column;  /* nonzero inputs of all samples, padded with zeros to whole groups of 4 */
    float *value;
    int64_t *starts;
} Lists;

typedef struct {
    V *w[LAYERS], *b[LAYERS], *wt[LAYERS];
    V *a[LAYERS + 1], *delta[LAYERS + 1];
} State;

static V *vectors(long n) { return memset(aligned_alloc(64, n * 64), 0, n * 64); }

INLINE V splat(float x) { return x - (V){}; }

INLINE V choose(I mask, V x, V y) { return (V)((mask & (I)x) | (~mask & (I)y)); }

/* exp(x) = 2^n 2^f with |f| <= 1/2; the polynomial is the Taylor series of exp(f ln 2) */
INLINE V vexp(V x)
{
    x = choose(x < splat(-87), splat(-87), x);
    x = choose(x > splat(88), splat(88), x);
    V t = x * 1.44269504f + 12582912.0f;  /* rounds to a whole number */
    V n = t - 12582912.0f;
    V r = x - n * 0.693359375f + n * 2.12194440e-4f;
    V p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return (V)((I)p + (((I)t - 0x4B400000) << 23));
}

INLINE V sigmoid(V z) { return 1.0f / (1.0f + vexp(-z)); }

INLINE float sum(V v)
{
    float total = 0;
    for (int i = 0; i < 16; i++)
        total += v[i];
    return total;
}

/* c[i][j] (8 rows, m vectors) += scale * sum_k p[i, k] q[k][j]; p[i, k] stands at p[i * p_row + k * p_step] */
INLINE void block(int m, int n, const float *p, int p_row, int p_step, const V *q, int q_step, V *c, int c_step,
                  float scale)
{
    V s[ROWS][2] = {};
    for (int k = 0; k < n; k++)
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
            for (int j = 0; j < m; j++)
                s[i][j] += p[i * p_row + k * p_step] * q[k * q_step + j];
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < m; j++)
            c[i * c_step + j] += scale * s[i][j];
}

/* The same for all rows and columns. */
INLINE void product(int rows, int m, int n, const float *p, int p_row, int p_step, const V *q, V *c, float scale)
{
    int j = 0;
    for (; j + 2 <= m; j += 2)
        for (int i = 0; i < rows; i += ROWS)
            block(2, n, p + i * p_row, p_row, p_step, q + j, m, c + i * m + j, m, scale);
    for (; j < m; j++)
        for (int i = 0; i < rows; i += ROWS)
            block(1, n, p + i * p_row, p_row, p_step, q + j, m, c + i * m + j, m, scale);
}

INLINE void transpose(int n_in, int n_out, const V *w, V *wt)
{
    const float *from = (const float *)w;
    float *to = (float *)wt;
    for (int k = 0; k < n_in; k++)
        for (int j = 0; j < n_out; j++)
            to[j * VECTORS(n_in) * 16 + k] = from[k * VECTORS(n_out) * 16 + j];
}

#ifndef DENSE
enum { M = VECTORS(SECOND(SIZES, 0)), STEP = M <= 4 ? M : M % 4 == 0 ? 4 : M % 2 == 0 ? 2 : 1, AHEAD = 2 };

/* z += scale * x W over the nonzero x of one sample */
INLINE void forward_sparse(const Lists *x, unsigned sample, const V *w, V *z, float scale)
{
    for (int j = 0; j < M; j += STEP) {
        V s[4][STEP] = {};
        for (int64_t e = x->starts[sample]; e < x->starts[sample + 1]; e += 4)
#pragma GCC unroll 4
            for (int u = 0; u < 4; u++)
#pragma GCC unroll 4
                for (int v = 0; v < STEP; v++)
                    s[u][v] += x->value[e + u] * w[x->column[e + u] * M + j + v];
        for (int v = 0; v < STEP; v++)
            z[j + v] += scale * ((s[0][v] + s[1][v]) + (s[2][v] + s[3][v]));
    }
}

INLINE void descend_sparse(const Lists *x, unsigned sample, V *w, const V *delta, float rate)
{
    for (int j = 0; j < M; j += STEP) {
        V d[STEP];
        for (int v = 0; v < STEP; v++)
            d[v] = delta[j + v] * -rate;
        for (int64_t e = x->starts[sample]; e < x->starts[sample + 1]; e += 4)
#pragma GCC unroll 4
            for (int u = 0; u < 4; u++)
#pragma GCC unroll 4
                for (int v = 0; v < STEP; v++)
                    w[x->column[e + u] * M + j + v] += x->value[e + u] * d[v];
    }
}

INLINE void fetch(const Lists *x, unsigned sample)
{
    for (int64_t e = x->starts[sample]; e < x->starts[sample + 1]; e += 16) {
        __builtin_prefetch(x->value + e);
        if (e % 32 < 16)
            __builtin_prefetch(x->column + e);
    }
}
#endif

/* The padding of a row of activations goes to 0. */
INLINE V tail(int n, int vector)
{
    V mask = {};
    for (int i = 0; i < 16; i++)
        mask[i] = vector * 16 + i < n;
    return mask;
}

void *open_state(const float *theta)
{
    State *s = malloc(sizeof *s);
    for (int l = 0; l < LAYERS; l++) {
        int m = VECTORS(sizes[l + 1]);
        s->w[l] = vectors((sizes[l] + 64) * m);
        s->wt[l] = vectors(sizes[l + 1] * VECTORS(sizes[l]));
        s->b[l] = vectors(m);
        for (int k = 0; k < sizes[l]; k++)
            memcpy(s->w[l] + k * m, theta + k * sizes[l + 1], sizes[l + 1] * sizeof(float));
        memcpy(s->b[l], theta + sizes[l] * sizes[l + 1], sizes[l + 1] * sizeof(float));
        theta += (sizes[l] + 1) * sizes[l + 1];
        transpose(sizes[l], sizes[l + 1], s->w[l], s->wt[l]);
    }
    for (int l = 0; l <= LAYERS; l++) {
        s->a[l] = vectors(PADDED * VECTORS(sizes[l]));
        s->delta[l] = vectors(PADDED * VECTORS(sizes[l]));
    }
    return s;
}

void train(State *s, const Lists *x, const float *dense, const int *y, const unsigned *order, long n_batches,
           float scale, float eta, double *costs)
{
    const float rate = eta / BATCH;
#ifdef DENSE
    (void)x;
#else
    (void)dense;
#endif
    for (long batch = 0; batch < n_batches; batch++) {
        const unsigned *samples = order + batch * BATCH;
#pragma GCC unroll 8
        for (int l = 0; l < LAYERS; l++) {
            const int m = VECTORS(sizes[l + 1]);
            V *z = s->a[l + 1];
            for (int i = 0; i < BATCH; i++)
                for (int j = 0; j < m; j++)
                    z[i * m + j] = s->b[l][j];
#ifndef DENSE
            if (l == 0) {
                for (int i = 0; i < BATCH; i++) {
                    if (batch * BATCH + i + AHEAD < n_batches * BATCH)
                        fetch(x, samples[i + AHEAD]);
                    forward_sparse(x, samples[i], s->w[0], z + i * m, scale);
                }
            } else
#endif
            {
                const int stride = VECTORS(sizes[l]) * 16;
#ifdef DENSE
                if (l == 0)
                    for (int i = 0; i < BATCH; i++)
                        memcpy((float *)s->a[0] + i * stride, dense + (long)samples[i] * sizes[0], sizes[0] * 4);
#endif
                product(PADDED, m, sizes[l], (float *)s->a[l], stride, 1, s->w[l], z, l == 0 ? scale : 1);
            }
            if (l < LAYERS - 1)
                for (int j = 0; j < m; j++) {
                    V mask = tail(sizes[l + 1], j);
                    for (int i = 0; i < BATCH; i++)
                        z[i * m + j] = sigmoid(z[i * m + j]) * mask;
                }
        }

        const int m_out = VECTORS(sizes[LAYERS]);
        double cost = 0;
        float norms[BATCH];
        for (int i = 0; i < BATCH; i++) {
            V *z = s->a[LAYERS] + i * m_out, *d = s->delta[LAYERS] + i * m_out;
            float *zs = (float *)z, *ds = (float *)d;
            int label = y[samples[i]];
            float top = zs[0];
            for (int j = 1; j < sizes[LAYERS]; j++)
                top = zs[j] > top ? zs[j] : top;
            V total = {};
            for (int j = 0; j < m_out; j++)
                total += d[j] = vexp(z[j] - top) * tail(sizes[LAYERS], j);
            norms[i] = sum(total);
            float one = 1 / norms[i];
            for (int j = 0; j < m_out; j++)
                d[j] *= one;
            ds[label] -= 1;
            cost += top - zs[label];
        }
        for (int i = 0; i < BATCH; i++)
            cost += __builtin_logf(norms[i]);
        costs[batch] = cost / BATCH;

#pragma GCC unroll 8
        for (int l = LAYERS - 1; l > 0; l--) {
            const int m = VECTORS(sizes[l]), n_next = VECTORS(sizes[l + 1]) * 16;
            V *d = s->delta[l];
            memset(d, 0, BATCH * m * sizeof(V));
            product(PADDED, m, sizes[l + 1], (float *)s->delta[l + 1], n_next, 1, s->wt[l], d, 1);
            for (int i = 0; i < BATCH * m; i++)
                d[i] *= s->a[l][i] * (1.0f - s->a[l][i]);
        }

#pragma GCC unroll 8
        for (int l = 0; l < LAYERS; l++) {
            const int m = VECTORS(sizes[l + 1]);
            for (int i = 0; i < BATCH; i++)
                for (int j = 0; j < m; j++)
                    s->b[l][j] -= rate * s->delta[l + 1][i * m + j];
#ifndef DENSE
            if (l == 0) {
                for (int i = 0; i < BATCH; i++)
                    descend_sparse(x, samples[i], s->w[0], s->delta[1] + i * m, rate * scale);
                continue;
            }
#endif
            product(sizes[l], m, BATCH, (float *)s->a[l], 1, VECTORS(sizes[l]) * 16, s->delta[l + 1], s->w[l],
                    l == 0 ? -rate * scale : -rate);
            if (l > 0)
                transpose(sizes[l], sizes[l + 1], s->w[l], s->wt[l]);
        }
    }
}
