// io.latency as a module, for Debian's kernels, which are built without it. The code is the kernel's; this file only lets
// it work as a module.
// source: block/blk-iolatency.c block/blk-cgroup.h block/blk-crypto-internal.h block/blk-mq-debugfs.h block/blk-rq-qos.h block/blk-stat.h block/blk.h
#define CONFIG_BLK_CGROUP_IOLATENCY 1
#include <linux/kprobes.h>
#include <linux/module.h>
#include "blk-rq-qos.h"
#include "blk-cgroup.h"
#include "blk.h"

// Functions that the kernel does not export.
#define KERNEL(type, name, parameters, ...)      \
    static type(*kernel_##name) parameters;      \
    type name parameters                         \
    {                                            \
        return kernel_##name(__VA_ARGS__);       \
    }
KERNEL(void, blkcg_add_delay, (struct blkcg_gq *blkg, u64 now, u64 delta), blkg, now, delta)
KERNEL(void, blkcg_schedule_throttle, (struct gendisk *disk, bool memdelay), disk, memdelay)
KERNEL(const char *, blkg_dev_name, (struct blkcg_gq *blkg), blkg)
KERNEL(void, blk_rq_stat_add, (struct blk_rq_stat *stat, u64 value), stat, value)
KERNEL(void, blk_rq_stat_init, (struct blk_rq_stat *stat), stat)
KERNEL(void, blk_rq_stat_sum, (struct blk_rq_stat *to, struct blk_rq_stat *from), to, from)
KERNEL(bool, rq_wait_inc_below, (struct rq_wait *wait, unsigned int limit), wait, limit)
KERNEL(void, rq_qos_wait,
       (struct rq_wait *wait, void *data, acquire_inflight_cb_t *acquire, cleanup_cb_t *cleanup),
       wait, data, acquire, cleanup)

// These only serve debugging.
bool blkcg_debug_stats;
void blk_mq_debugfs_register_rqos(struct rq_qos *rqos) {}
void blk_mq_debugfs_unregister_rqos(struct rq_qos *rqos) {}

// The kernel's file registers only the policy. Here the disks that exist follow.
#undef module_init
#undef module_exit
#define module_init(function)
#define module_exit(function)
#include "blk-iolatency.c"

int __init init_module(void)
{
    struct kprobe probe = {.symbol_name = "kallsyms_lookup_name"};
    unsigned long (*address)(const char *);
    struct class *block_class;
    struct class_dev_iter disks;
    struct device *device;
    int error = register_kprobe(&probe);

    if (error)
        return error;
    address = (void *)probe.addr;
    unregister_kprobe(&probe);
#define FIND(variable, name)                           \
    variable = (void *)address(name);                  \
    if (!variable) {                                   \
        pr_err("iolatency: no symbol %s\n", name);     \
        return -ENOENT;                                \
    }
    FIND(block_class, "block_class")
    FIND(kernel_blkcg_add_delay, "blkcg_add_delay")
    FIND(kernel_blkcg_schedule_throttle, "blkcg_schedule_throttle")
    FIND(kernel_blkg_dev_name, "blkg_dev_name")
    FIND(kernel_blk_rq_stat_add, "blk_rq_stat_add")
    FIND(kernel_blk_rq_stat_init, "blk_rq_stat_init")
    FIND(kernel_blk_rq_stat_sum, "blk_rq_stat_sum")
    FIND(kernel_rq_wait_inc_below, "rq_wait_inc_below")
    FIND(kernel_rq_qos_wait, "rq_qos_wait")

    error = blkcg_policy_register(&blkcg_policy_iolatency);
    if (error)
        return error;
    class_dev_iter_init(&disks, block_class, NULL, NULL);
    while ((device = class_dev_iter_next(&disks))) {
        if (bdev_is_partition(dev_to_bdev(device)))
            continue;
        error = blk_iolatency_init(dev_to_disk(device));
        if (error)
            pr_err("iolatency: %s: error %d\n", dev_name(device), error);
    }
    class_dev_iter_exit(&disks);
    return 0;
}
MODULE_LICENSE("GPL");
