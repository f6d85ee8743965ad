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

complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -l root -d 'Folder that stands for the host\'s root, in image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -s V -l version -d 'Print version'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "run" -d 'Run the agent; systemd does this (wasp-agent.service)'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "provision" -d 'Make the swap that is configured and set the kernel up for it; systemd does this at boot (wasp-swap.service). Exit 69: refused, the node is better off without; 75: there is swap, but not as configured'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "deprovision" -d 'Remove the swap that `provision` made and put the kernel\'s settings back'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "unprotect" -d 'Put the protected slices back to what they were before the agent came'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "cleanup" -d 'Remove the OCI hook, what the agent keeps in /run and the node\'s history; limits and swap stay as they are'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "check" -d 'Check whether this host can overcommit memory safely, and print how to fix each problem. Works before the installation, too. Exit 1: a warning; 2: a failure'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "check-config" -d 'Load the configuration as the agent does and print what counts, and where it comes from'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "status" -d 'Show what the agent sees and does: node, signals, evictions, pods by swap used'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "report" -d 'Report what happened on this node: evictions, outages, changed limits, memory and waits over time'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "advise" -d 'Show how much memory this node has borne by its own history, and what is not known'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "explain" -d 'Explain why a pod\'s containers may swap what they may, and its place in the order of eviction'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "suspend" -d 'Suspend a pod: freeze it, and move its memory to swap as far as its grant allows. A VM must have been paused (virtctl pause). The running agent does it (docs/suspend.md)'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "resume" -d 'Let a suspended pod run again'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "suspended" -d 'List suspended pods, with their memory before and now'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "plan" -d 'Show each container\'s swap grant and why, and what the agent would do now'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "manifests" -d 'Render what an OpenShift cluster is given so that every node of a pool has swap and an agent'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand run" -l root -d 'Folder that stands for the host\'s root, in image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand run" -l dry-run -d 'Decide and log everything, change nothing'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand run" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand provision" -l wait -d 'Wait so long for the device of a partition that is not there yet' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand provision" -l root -d 'Folder that stands for the host\'s root, in image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand provision" -l dry-run -d 'Say what would be done, do nothing'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand provision" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand deprovision" -l root -d 'Folder that stands for the host\'s root, in image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand deprovision" -l dry-run -d 'Say what would be done, do nothing'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand deprovision" -l if-unused -d 'Leave everything as it is while any page is in swap'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand deprovision" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand unprotect" -l root -d 'Folder that stands for the host\'s root, in image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand unprotect" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand cleanup" -l root -d 'Folder that stands for the host\'s root, in image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand cleanup" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand check" -l root -d 'Folder that stands for the host\'s root, in image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand check" -l json -d 'Print JSON'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand check" -l brief -d 'Only what is not well, a line each, without asking systemd and the API server'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand check" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand check-config" -l root -d 'Folder that stands for the host\'s root, in image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand check-config" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand status" -l sort -d 'In which order the pods are shown' -r -f -a "swap\t'By swap used'
in\t'By pages that come back from swap'
stall\t'By the time in which all of their processes wait for memory'
eviction\t'By the order of eviction'"
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand status" -l root -d 'Folder that stands for the host\'s root, in image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand status" -l json -d 'Print JSON (docs/status.schema.json)'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand status" -l brief -d 'One line of three fields with tabs between them: swap, agent ("ready"), limits ("right"). Exit 1: something is not right'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand status" -l watch -d 'Again every two seconds'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand status" -l all -d 'All pods, not only the first twenty'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand report" -l since -d 'From when on: yesterday, today, a duration back from now (90m, 2h, 3d), a date or an RFC 3339 time; days begin at midnight UTC' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand report" -l svg -d 'Draw memory, swap traffic and waits over time into this file' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand report" -l html -d 'Write report and pictures into this file, for a browser' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand report" -l root -d 'Folder that stands for the host\'s root, in image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand report" -l json -d 'Print JSON, with a point for each minute'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand report" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand advise" -l root -d 'Folder that stands for the host\'s root, in image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand advise" -l json -d 'Print JSON'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand advise" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand explain" -l root -d 'Folder that stands for the host\'s root, in image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand explain" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand suspend" -l root -d 'Folder that stands for the host\'s root, in image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand suspend" -l dry-run -d 'Print what would be freed, do nothing'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand suspend" -l force -d 'Also a pod with exec or liveness probes, which the kubelet may restart while it is frozen'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand suspend" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand resume" -l root -d 'Folder that stands for the host\'s root, in image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand resume" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand suspended" -l root -d 'Folder that stands for the host\'s root, in image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand suspended" -l json -d 'Print JSON'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand suspended" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand plan" -l overcommit-percent -d 'Show what this overcommit-percent would change: swap, disk, and each container\'s grant' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand plan" -l root -d 'Folder that stands for the host\'s root, in image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand plan" -l json -d 'Print JSON'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand plan" -l all -d 'Also show sandboxes and other cgroups that hold no container'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand plan" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l openshift -d 'The cluster\'s version of OpenShift: `oc get clusterversion` shows it' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l hyperconverged -d 'The API versions of HyperConverged that the cluster serves, where they are not the usual ones' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l role -d 'The machine config pool whose nodes get swap and the agent' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l overcommit-percent -d 'How much memory pods may use in all, in percent of RAM: the swap is what is above 100' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l swap-kind -d 'Where swapped pages go: file, partition or zram' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l swap-size -d 'So much swap on every node, instead of by overcommit-percent' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l swap-path -d 'The swapfile, or the partition by a name that is the same on every node' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l config -d 'More configuration for the nodes, as in /etc/wasp-agent/config.d' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l install -d 'How the nodes get the program' -r -f -a "layer\t'The cluster builds the pool\'s OS image with the package in it (MachineOSConfig)'
first-boot\t'A unit fetches the package at boot and puts it into /usr/local'
present\t'The nodes have the package already'"
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l rpm-url -d 'Where the nodes, or the image\'s builder, fetch the package' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l rpm-sha256 -d 'The package\'s SHA-256' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l push-spec -d 'The image that the cluster builds for the pool' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l push-secret -d 'The secret in openshift-machine-config-operator that may push it' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l eviction-soft -d 'Have the kubelet evict softly below so much memory.available' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l eviction-soft-grace -d 'For how long it must be below' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l node-ram -d 'The nodes\' RAM, to refuse what does not fit' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l node-disk -d 'The nodes\' disk, to refuse what does not fit' -r
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l out -d 'Write files into this folder, with the script that applies them, apply.sh; else print everything' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l root -d 'Folder that stands for the host\'s root, in image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l taint-guard -d 'The rights of who taints nodes for the agent'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -l allow-control-plane -d 'Roll out to the control plane as well'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand manifests" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "run" -d 'Run the agent; systemd does this (wasp-agent.service)'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "provision" -d 'Make the swap that is configured and set the kernel up for it; systemd does this at boot (wasp-swap.service). Exit 69: refused, the node is better off without; 75: there is swap, but not as configured'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "deprovision" -d 'Remove the swap that `provision` made and put the kernel\'s settings back'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "unprotect" -d 'Put the protected slices back to what they were before the agent came'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "cleanup" -d 'Remove the OCI hook, what the agent keeps in /run and the node\'s history; limits and swap stay as they are'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "check" -d 'Check whether this host can overcommit memory safely, and print how to fix each problem. Works before the installation, too. Exit 1: a warning; 2: a failure'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "check-config" -d 'Load the configuration as the agent does and print what counts, and where it comes from'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "status" -d 'Show what the agent sees and does: node, signals, evictions, pods by swap used'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "report" -d 'Report what happened on this node: evictions, outages, changed limits, memory and waits over time'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "advise" -d 'Show how much memory this node has borne by its own history, and what is not known'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "explain" -d 'Explain why a pod\'s containers may swap what they may, and its place in the order of eviction'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "suspend" -d 'Suspend a pod: freeze it, and move its memory to swap as far as its grant allows. A VM must have been paused (virtctl pause). The running agent does it (docs/suspend.md)'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "resume" -d 'Let a suspended pod run again'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "suspended" -d 'List suspended pods, with their memory before and now'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "plan" -d 'Show each container\'s swap grant and why, and what the agent would do now'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "manifests" -d 'Render what an OpenShift cluster is given so that every node of a pool has swap and an agent'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check check-config status report advise explain suspend resume suspended plan manifests help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
