/* Mini-batch gradient descent in plain scalar C: sigmoid layers, softmax, cross-entropy, float32, dense input.
 *
 *     gcc -O3 -march=native -shared -fPIC -DSIZES=784,16,16,10 -DBATCH=32 plain.c -o plain.so -lm
 *
 * Sizes are known to the compiler, so that it can unroll and vectorise. theta holds W (n_in, n_out), then b, of one
 * layer after the other.
 */

#include <math.h>

static const int sizes[] = {SIZES};
enum { LAYERS = sizeof sizes / sizeof *sizes - 1, WIDEST = 2048 };

static float a[LAYERS + 1][BATCH * WIDEST], delta[LAYERS + 1][BATCH * WIDEST];

#define INLINE static inline __attribute__((always_inline))

/* One input at a time: the sums of different samples do not wait for each other. */
INLINE void net_inputs(int n_in, int n_out, const float *const *inputs, const float *restrict w, float *restrict z)
{
    for (int i = 0; i < BATCH; i++)
        for (int j = 0; j < n_out; j++)
            z[i * n_out + j] = w[n_in * n_out + j];
    for (int k = 0; k < n_in; k++)
        for (int i = 0; i < BATCH; i++)
            for (int j = 0; j < n_out; j++)
                z[i * n_out + j] += inputs[i][k] * w[k * n_out + j];
}

INLINE double softmax(int n, int label, const float *restrict z, float *restrict d)
{
    float top = z[0], sum = 0;
    for (int j = 1; j < n; j++)
        top = z[j] > top ? z[j] : top;
    for (int j = 0; j < n; j++)
        sum += d[j] = expf(z[j] - top);
    for (int j = 0; j < n; j++)
        d[j] /= sum;
    d[label] -= 1;
    return logf(sum) - (z[label] - top);
}

INLINE void delta_of(int n_in, int n_out, const float *restrict w, const float *restrict d_next,
                     const float *restrict h, float *restrict d)
{
    for (int k = 0; k < n_in; k++) {
        float sum = 0;
        for (int j = 0; j < n_out; j++)
            sum += w[k * n_out + j] * d_next[j];
        d[k] = sum * h[k] * (1 - h[k]);
    }
}

/* One sample at a time: the same for the steps of different weights. */
INLINE void descend(int n_in, int n_out, const float *const *inputs, const float *restrict d, float *restrict w,
                    float rate)
{
    for (int i = 0; i < BATCH; i++) {
        float step[n_out];
        for (int j = 0; j < n_out; j++)
            step[j] = rate * d[i * n_out + j];
        for (int k = 0; k < n_in; k++)
            for (int j = 0; j < n_out; j++)
                w[k * n_out + j] -= inputs[i][k] * step[j];
        for (int j = 0; j < n_out; j++)
            w[n_in * n_out + j] -= step[j];
    }
}

void train(float *theta, const float *x, const int *y, const unsigned *order, long n_batches, float eta,
           double *costs)
{
    float *w[LAYERS];
    for (int l = 0; l < LAYERS; l++) {
        w[l] = theta;
        theta += (sizes[l] + 1) * sizes[l + 1];
    }
    for (long batch = 0; batch < n_batches; batch++) {
        const unsigned *samples = order + batch * BATCH;
        const float *inputs[LAYERS][BATCH];
        double cost = 0;
        for (int i = 0; i < BATCH; i++) {
            inputs[0][i] = x + (long)samples[i] * sizes[0];
            for (int l = 1; l < LAYERS; l++)
                inputs[l][i] = a[l] + i * sizes[l];
        }
#pragma GCC unroll 8
        for (int l = 0; l < LAYERS; l++) {
            net_inputs(sizes[l], sizes[l + 1], inputs[l], w[l], a[l + 1]);
            if (l < LAYERS - 1)
                for (int i = 0; i < BATCH * sizes[l + 1]; i++)
                    a[l + 1][i] = 1 / (1 + expf(-a[l + 1][i]));
        }
        for (int i = 0; i < BATCH; i++)
            cost += softmax(sizes[LAYERS], y[samples[i]], a[LAYERS] + i * sizes[LAYERS],
                            delta[LAYERS] + i * sizes[LAYERS]);
#pragma GCC unroll 8
        for (int l = LAYERS - 1; l > 0; l--)
            for (int i = 0; i < BATCH; i++)
                delta_of(sizes[l], sizes[l + 1], w[l], delta[l + 1] + i * sizes[l + 1], a[l] + i * sizes[l],
                         delta[l] + i * sizes[l]);
#pragma GCC unroll 8
        for (int l = 0; l < LAYERS; l++)
            descend(sizes[l], sizes[l + 1], inputs[l], delta[l + 1], w[l], eta / BATCH);
        costs[batch] = cost / BATCH;
    }
}
