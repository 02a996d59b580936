// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

contract Token is ERC20("Token", "TKN") {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }
}

/// @dev Keeps one part in a hundred of each transfer.
contract FeeToken is Token {
    function _update(address from, address to, uint256 amount) internal override {
        if (from != address(0) && to != address(0)) {
            super._update(from, address(0xfee), amount / 100);
            amount -= amount / 100;
        }
        super._update(from, to, amount);
    }
}

/// @dev Says false where it should revert.
contract FalseToken is Token {
    bool public refusing;

    function refuse(bool refusing_) external {
        refusing = refusing_;
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        return refusing ? false : super.transfer(to, amount);
    }
}

/// @dev Says false and pays all the same, as USDT on Tron does.
contract LyingToken is Token {
    function transfer(address to, uint256 amount) public override returns (bool) {
        super.transfer(to, amount);
        return false;
    }
}

/// @dev Takes one part in a hundred from the sender, besides what arrives.
contract SurchargeToken is Token {
    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        if (from != address(0) && to != address(0)) super._update(from, address(0xfee), amount / 100);
    }
}

/// @dev Returns nothing, as some old tokens do.
contract SilentToken {
    mapping(address => uint256) public balanceOf;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function transfer(address to, uint256 amount) external {
        balanceOf[msg.sender] -= amount;
        balanceOf[to] += amount;
    }
}

/// @dev Refuses to pay some.
contract BlocklistToken is Token {
    mapping(address => bool) public blocked;

    function block_(address account, bool blocked_) external {
        blocked[account] = blocked_;
    }

    function _update(address from, address to, uint256 amount) internal override {
        require(!blocked[to], "blocked");
        super._update(from, to, amount);
    }
}

/// @dev Balances are shares of a pool that shrinks by a half at the next transfer.
contract RebasingToken is Token {
    uint256 public divisor = 1;

    function balanceOf(address account) public view override returns (uint256) {
        return super.balanceOf(account) / divisor;
    }

    bool public armed;

    function rebaseAtTransfer() external {
        armed = true;
    }

    function rebase() external {
        divisor = 2;
    }

    function _update(address from, address to, uint256 amount) internal override {
        if (armed) divisor = 2;
        super._update(from, to, amount * divisor);
    }
}

/// @dev Calls back whom it pays.
contract CallbackToken is Token {
    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        if (to.code.length > 0 && from != address(0)) {
            (bool called, bytes memory answer) = to.call(abi.encodeWithSignature("received()"));
            if (!called) {
                assembly {
                    revert(add(answer, 32), mload(answer))
                }
            }
        }
    }
}
