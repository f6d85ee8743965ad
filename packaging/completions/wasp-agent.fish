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
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "cleanup" -d 'Remove the OCI hook and what the agent keeps in /run; limits and swap stay as they are'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "check-config" -d 'Load the configuration as the agent does and print what counts, and where it comes from'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "plan" -d 'Show each container\'s swap grant and why, and what the agent would do now'
complete -c wasp-agent -n "__fish_wasp_agent_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand run" -l root -d 'Folder that stands for the host\'s root, in image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand run" -l dry-run -d 'Decide and log everything, change nothing'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand run" -s h -l help -d 'Print help'
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
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand check-config" -l root -d 'Folder that stands for the host\'s root, in image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand check-config" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand plan" -l root -d 'Folder that stands for the host\'s root, in image builds and tests' -r -F
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand plan" -l json -d 'Print JSON'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand plan" -l all -d 'Also show sandboxes and other cgroups that hold no container'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand plan" -s h -l help -d 'Print help'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check-config plan help" -f -a "run" -d 'Run the agent; systemd does this (wasp-agent.service)'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check-config plan help" -f -a "provision" -d 'Make the swap that is configured and set the kernel up for it; systemd does this at boot (wasp-swap.service). Exit 69: refused, the node is better off without; 75: there is swap, but not as configured'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check-config plan help" -f -a "deprovision" -d 'Remove the swap that `provision` made and put the kernel\'s settings back'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check-config plan help" -f -a "unprotect" -d 'Put the protected slices back to what they were before the agent came'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check-config plan help" -f -a "cleanup" -d 'Remove the OCI hook and what the agent keeps in /run; limits and swap stay as they are'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check-config plan help" -f -a "check-config" -d 'Load the configuration as the agent does and print what counts, and where it comes from'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check-config plan help" -f -a "plan" -d 'Show each container\'s swap grant and why, and what the agent would do now'
complete -c wasp-agent -n "__fish_wasp_agent_using_subcommand help; and not __fish_seen_subcommand_from run provision deprovision unprotect cleanup check-config plan help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
