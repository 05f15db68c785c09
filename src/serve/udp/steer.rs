//! A program by which the kernel gives a query to the worker of the CPU that received it (Linux).
//!
//! It runs in the kernel for each datagram and returns the index of a socket, in the order in which
//! they were bound (SO_ATTACH_REUSEPORT_CBPF in socket(7)).
//!
//! **Invariant:** for every CPU the program returns an index below the number of workers.
//! **Not here:** handing it to the kernel (`mmsg`).

use libc::{SKF_AD_CPU, SKF_AD_OFF, sock_filter};

/// Returns the program for `workers` of which the first ones stay on `cpus`. A query that came in on
/// another CPU goes to a worker by that CPU's number.
pub(super) fn by_cpu(workers: usize, cpus: &[usize]) -> Vec<sock_filter> {
    debug_assert!(workers > 0);
    let step = |code, jf, k| sock_filter { code, jt: 0, jf, k };
    let mut program = vec![step(LOAD_WORD, 0, (SKF_AD_OFF + SKF_AD_CPU) as u32)];
    for (index, cpu) in (0_u32..).zip(cpus).take(workers) {
        program.push(step(SKIP_UNLESS_EQUAL, 1, u32::try_from(*cpu).unwrap_or(u32::MAX)));
        program.push(step(RETURN_CONSTANT, 0, index));
    }
    program.push(step(MODULO, 0, u32::try_from(workers).unwrap_or(u32::MAX)));
    program.push(step(RETURN_ACCUMULATOR, 0, 0));
    program
}

/// BPF_LD, BPF_W and BPF_ABS: loads what the operand names, here the CPU's number.
const LOAD_WORD: u16 = 0x20;
/// BPF_JMP, BPF_JEQ and BPF_K: goes on if the accumulator is the operand, else skips `jf` steps.
const SKIP_UNLESS_EQUAL: u16 = 0x15;
/// BPF_ALU, BPF_MOD and BPF_K.
const MODULO: u16 = 0x94;
/// BPF_RET and BPF_K.
const RETURN_CONSTANT: u16 = 0x06;
/// BPF_RET and BPF_A.
const RETURN_ACCUMULATOR: u16 = 0x16;

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel does on a CPU.
    fn run(program: &[sock_filter], cpu: u32) -> u32 {
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            match step.code {
                LOAD_WORD => accumulator = cpu,
                SKIP_UNLESS_EQUAL => {
                    at += usize::from(if accumulator == step.k { step.jt } else { step.jf });
                }
                MODULO => accumulator %= step.k,
                RETURN_CONSTANT => return step.k,
                RETURN_ACCUMULATOR => return accumulator,
                code => panic!("{code:#x} is none of our steps"),
            }
        }
    }

    #[test]
    fn every_cpu_has_a_worker_and_a_pinned_one_its_own() {
        for (workers, cpus, chosen) in [
            (2, &[][..], [0, 1, 0, 1, 0, 1]),
            (3, &[], [0, 1, 2, 0, 1, 2]),
            (2, &[5, 4], [0, 1, 0, 1, 1, 0]),
            (2, &[3], [0, 1, 0, 0, 0, 1]),
            (2, &[1, 2, 3], [0, 0, 1, 1, 0, 1]), // nobody stays on the third
        ] {
            let program = by_cpu(workers, cpus);
            let got: Vec<_> = (0..6).map(|cpu| run(&program, cpu)).collect();
            assert_eq!(got, chosen, "{workers} workers on {cpus:?}");
        }
    }
}
