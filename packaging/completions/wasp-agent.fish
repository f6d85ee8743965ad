# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_wasp_agent_global_optspecs
    string join \n root= h/help V/version
end

function __fish_wasp_agent_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_wasp_agent_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_wasp_agent_using_subcommand
    set -l cmd (__fish_wasp_agent_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -l root -d 'Use this directory as the host\'s root, for image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -s V -l version -d 'Print version'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "run" -d 'Run the agent; systemd does this (wasp-agent.service)'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "provision" -d 'Create the configured swap and configure the kernel for it; systemd does this at boot (wasp-swap.service). Exit status 69: refused, because the kubelet would not start with swap or the kernel cannot limit it; 75: the swap is not as configured'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "deprovision" -d 'Remove the swap that `provision` created and restore the kernel\'s settings'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "unprotect" -d 'Restore the settings that the protected slices and services had before the agent changed them'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "cleanup" -d 'Remove the OCI hook, the agent\'s files in /run, the file of metrics.textfile and the node\'s history; limits and swap do not change'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "check" -d 'Check whether this host can overcommit memory safely, and print how to fix each problem. Also works before the installation. Exit status 1: warnings; 2: failures'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "check-config" -d 'Load the configuration as the agent does, and print each setting with its source. Exit status 78: the configuration is invalid'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "status" -d 'Show the state of the node: signals, evictions, problems, pods by swap used'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "report" -d 'Report the history of this node: evictions, outages, changed limits, memory and waits over time'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "advise" -d 'Show how much memory use this node has sustained, from its own history'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "explain" -d 'Explain the swap grants of a pod\'s containers, and the pod\'s place in the order of eviction'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "suspend" -d 'Suspend a pod: freeze it, and move its memory to swap as far as its grant allows. Pause a VM first (virtctl pause). The running agent does the work (docs/suspend.md)'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "resume" -d 'Let a suspended pod run again'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "suspended" -d 'List suspended pods, with their memory before the suspension and now'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "plan" -d 'Show each container\'s swap grant with its reason, and the limits that the agent would set now'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "manifests" -d 'Render the manifests that give every node of an OpenShift pool swap and an agent'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand run" -l root -d 'Use this directory as the host\'s root, for image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand run" -l dry-run -d 'Decide and log, but change nothing'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand run" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand provision" -l wait -d 'Wait up to this time for the device of a partition to appear' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand provision" -l root -d 'Use this directory as the host\'s root, for image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand provision" -l dry-run -d 'Print the steps, but change nothing'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand provision" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand deprovision" -l root -d 'Use this directory as the host\'s root, for image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand deprovision" -l dry-run -d 'Print the steps, but change nothing'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand deprovision" -l if-unused -d 'Do nothing if any page is in swap'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand deprovision" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand unprotect" -l root -d 'Use this directory as the host\'s root, for image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand unprotect" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand cleanup" -l root -d 'Use this directory as the host\'s root, for image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand cleanup" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand check" -l root -d 'Use this directory as the host\'s root, for image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand check" -l json -d 'Print JSON'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand check" -l brief -d 'Print only warnings and failures, one line each, and do not contact systemd and the API server'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand check" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand check-config" -l root -d 'Use this directory as the host\'s root, for image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand check-config" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand status" -l sort -d 'Sort the pods by this column' -r -f -a "swap\t'Swap used'
in\t'Pages read back from swap'
stall\t'Time in which all processes of the pod wait for memory'
eviction\t'Order of eviction'"
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand status" -l root -d 'Use this directory as the host\'s root, for image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand status" -l json -d 'Print JSON (docs/status.schema.json)'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand status" -l brief -d 'Print one line of three tab-separated fields: swap, agent ("ready"), limits ("right"). Exit status 1: at least one field shows a problem'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand status" -l watch -d 'Print again every two seconds'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand status" -l all -d 'Print all pods, not only the first twenty'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand report" -l since -d 'Start of the report: yesterday, today, a duration before now (90m, 2h, 3d), a date or an RFC 3339 time; days begin at midnight UTC' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand report" -l svg -d 'Write an SVG of memory, swap traffic and waits over time to this file' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand report" -l html -d 'Write the report with its charts as HTML to this file' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand report" -l root -d 'Use this directory as the host\'s root, for image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand report" -l json -d 'Print JSON, with one entry for each minute'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand report" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand advise" -l root -d 'Use this directory as the host\'s root, for image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand advise" -l json -d 'Print JSON'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand advise" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand explain" -l root -d 'Use this directory as the host\'s root, for image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand explain" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand suspend" -l root -d 'Use this directory as the host\'s root, for image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand suspend" -l dry-run -d 'Print how much memory this would free, but change nothing'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand suspend" -l force -d 'Suspend the pod even if it has probes. It cannot answer them while it is frozen, and the kubelet may restart it'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand suspend" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand resume" -l root -d 'Use this directory as the host\'s root, for image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand resume" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand suspended" -l root -d 'Use this directory as the host\'s root, for image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand suspended" -l json -d 'Print JSON'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand suspended" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand plan" -l overcommit-percent -d 'Show what this overcommit-percent would change: swap, disk, and each container\'s grant' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand plan" -l root -d 'Use this directory as the host\'s root, for image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand plan" -l json -d 'Print JSON'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand plan" -l all -d 'Also show sandboxes and other cgroups without a container'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand plan" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l openshift -d 'OpenShift version of the cluster: `oc get clusterversion` shows it' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l hyperconverged -d 'API versions of HyperConverged that the cluster serves, separated by spaces; default: the version of this OpenShift release' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l role -d 'Machine config pool whose nodes get swap and the agent' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l overcommit-percent -d 'Memory that all pods together may use, in percent of RAM; the part above 100 is swap' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l swap-kind -d 'Kind of swap: file, partition or zram' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l swap-size -d 'Size of the swap on every node, instead of --overcommit-percent' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l swap-path -d 'Path of the swapfile, or of the partition by a name that is the same on every node' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l config -d 'Add the settings of this file, in the format of /etc/wasp-agent/config.d' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l install -d 'How the nodes get the package' -r -f -a "layer\t'The cluster builds the pool\'s OS image with the package (MachineOSConfig)'
first-boot\t'A unit downloads the package at boot and installs it below /usr/local'
present\t'The nodes already have the package'"
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l rpm-url -d 'URL from which the nodes or the image builder download the package; required unless the nodes have it' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l rpm-sha256 -d 'SHA-256 of the package; required with --rpm-url' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l push-spec -d 'Image that the cluster builds for the pool; use a different one for each pool' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l push-secret -d 'Secret in openshift-machine-config-operator with permission to push the image; required with --install layer' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l eviction-soft -d 'Set the kubelet\'s soft eviction threshold for memory.available' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l eviction-soft-grace -d 'Set the grace period of the soft eviction threshold' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l node-ram -d 'RAM of the nodes, to reject a swap size that does not fit' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l node-disk -d 'Disk size of the nodes, to reject a swap size that does not fit' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l out -d 'Write the files and the script that applies them, apply.sh, to this directory; default: print them' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l root -d 'Use this directory as the host\'s root, for image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l taint-guard -d 'Render the permissions of the user who taints nodes for the agent'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l allow-control-plane -d 'Also roll out to the control plane'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "run" -d 'Run the agent; systemd does this (wasp-agent.service)'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "provision" -d 'Create the configured swap and configure the kernel for it; systemd does this at boot (wasp-swap.service). Exit status 69: refused, because the kubelet would not start with swap or the kernel cannot limit it; 75: the swap is not as configured'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "deprovision" -d 'Remove the swap that `provision` created and restore the kernel\'s settings'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "unprotect" -d 'Restore the settings that the protected slices and services had before the agent changed them'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "cleanup" -d 'Remove the OCI hook, the agent\'s files in /run, the file of metrics.textfile and the node\'s history; limits and swap do not change'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "check" -d 'Check whether this host can overcommit memory safely, and print how to fix each problem. Also works before the installation. Exit status 1: warnings; 2: failures'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "check-config" -d 'Load the configuration as the agent does, and print each setting with its source. Exit status 78: the configuration is invalid'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "status" -d 'Show the state of the node: signals, evictions, problems, pods by swap used'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "report" -d 'Report the history of this node: evictions, outages, changed limits, memory and waits over time'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "advise" -d 'Show how much memory use this node has sustained, from its own history'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "explain" -d 'Explain the swap grants of a pod\'s containers, and the pod\'s place in the order of eviction'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "suspend" -d 'Suspend a pod: freeze it, and move its memory to swap as far as its grant allows. Pause a VM first (virtctl pause). The running agent does the work (docs/suspend.md)'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "resume" -d 'Let a suspended pod run again'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "suspended" -d 'List suspended pods, with their memory before the suspension and now'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "plan" -d 'Show each container\'s swap grant with its reason, and the limits that the agent would set now'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "manifests" -d 'Render the manifests that give every node of an OpenShift pool swap and an agent'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
